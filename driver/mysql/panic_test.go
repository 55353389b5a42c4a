package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/memnet"
)

// broken is a connector that fails as go-sql-driver does: not with an error.
type broken struct {
	driver.Connector
	fault func()
	conn  net.Conn
}

func (b broken) Connect(ctx context.Context) (driver.Conn, error) {
	a := ctx.Value(attemptKey{}).(*attempt)
	a.conn = b.conn
	_, _ = watch(b.conn, a).Read(make([]byte, 100))
	b.fault()
	return nil, nil
}

// go-sql-driver 1.10.1 does not survive every first packet: the program ended
// with it.
func TestAPanicOfTheDriverIsAnErrorThatSaysWhatAnswered(t *testing.T) {
	t.Parallel()
	client, server := memnet.Pair(memnet.Addr("client"), memnet.Addr("server"))
	_, err := server.Write([]byte("\x09\x00\x00\x00\xff\x10\x04oddity"))
	if err != nil {
		t.Fatal(err)
	}
	list, at := []int{}, 1
	c := connector{Connector: broken{fault: func() { list[at]++ }, conn: client}}
	_, err = c.Connect(t.Context())
	if err == nil || !strings.Contains(err.Error(), "index out of range") || !strings.Contains(err.Error(), "oddity") {
		t.Errorf("got %v", err)
	}
	if _, ok := errors.AsType[runtime.Error](err); !ok {
		t.Errorf("got %v, want a runtime.Error", err)
	}
	if _, err := client.Write([]byte("x")); err == nil {
		t.Error("the connection is open")
	}

	// What is no fault of the driver's code goes on.
	c.Connector = broken{fault: func() { panic("stop") }, conn: client}
	defer func() {
		if r := recover(); r != "stop" {
			t.Errorf("recovered %v", r)
		}
	}()
	_, _ = c.Connect(t.Context())
}
