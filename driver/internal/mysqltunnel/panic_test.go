package mysqltunnel

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// broken is a connector that fails as go-sql-driver does: not with an error.
type broken struct {
	driver.Connector
	fault func()
	conn  net.Conn
}

func (b broken) Connect(ctx context.Context) (driver.Conn, error) {
	a := ctx.Value(connectingKey{}).(*connecting)
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

// What is told of an answer is looked at without a driver in between.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x09\x00\x00\x00\xff\x10\x04oddity"), 3)
	f.Add([]byte("\x0f\x00\x00\x00\xff\x15\x04#28000Access"), 1)
	f.Add([]byte("SSH-2.0-x\r\n"), 5)
	f.Fuzz(func(t *testing.T, said []byte, piece int) {
		a := &connecting{cfg: mysql.NewConfig()}
		for rest := said; len(rest) > 0; {
			n := min(max(piece, 1), len(rest))
			_ = a.hear(rest[:n])
			rest = rest[n:]
		}
		if e := a.refusal(); e != nil && !bytes.Contains(said, []byte(e.Message)) {
			t.Errorf("%q became %+v", said, e)
		}
	})
}
