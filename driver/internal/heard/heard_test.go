//go:build unix

package heard_test

import (
	"context"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/heard"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

const instance = "my-project:europe-west1:my-db"

// The look of a driver at an idle connection waited for a Read in progress. It
// does not, and says that it cannot tell.
func TestALookDoesNotWait(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		newServer   func() *cloudsqltest.Server
		idle, ended heard.State
	}{
		"sockets": {cloudsqltest.NewServer, heard.Quiet, heard.Something},
		"memory":  {cloudsqltest.NewMemoryServer, heard.Unknown, heard.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tt.newServer()
			defer s.Close()
			p := s.AddInstance(instance, cloudsqltest.Instance{})
			d, err := cloudsqlconn.NewDialer(context.Background(), s.Options()...)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			c, err := d.Dial(t.Context(), instance)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := heard.Look(c); got != tt.idle {
				t.Errorf("idle: %v, want %v", got, tt.idle)
			}
			if tt.idle == heard.Quiet {
				busy(t, c)
			}
			if p.CutConnections(false) != 1 {
				t.Fatal("the fault did not happen")
			}
			for heard.Look(c) == heard.Quiet { // the end has not come yet
				runtime.Gosched()
			}
			if got := heard.Look(c); got != tt.ended {
				t.Errorf("ended: %v, want %v", got, tt.ended)
			}
		})
	}
}

// busy looks while somebody sits in Read, and after that.
func busy(t *testing.T, c net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = c.Read(make([]byte, 1)) })
	for heard.Look(c) != heard.Busy {
		runtime.Gosched()
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	wg.Wait()
	_ = c.SetReadDeadline(time.Time{})
	if got := heard.Look(c); got != heard.Quiet {
		t.Errorf("after the Read: %v", got)
	}
}

// The same while somebody sits in a Write to a server that does not read, and in
// a Read beside.
func TestALookDoesNotWaitForAWrite(t *testing.T) {
	t.Parallel()
	for _, reading := range []bool{false, true} {
		s := cloudsqltest.NewServer()
		defer s.Close()
		end := make(chan struct{})
		defer close(end)
		s.AddInstance(instance, cloudsqltest.Instance{Handler: func(net.Conn) { <-end }})
		d, err := cloudsqlconn.NewDialer(context.Background(), s.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		c, err := d.Dial(t.Context(), instance)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for err := error(nil); err == nil; {
				_, err = c.Write(make([]byte, 1<<20))
			}
		})
		if reading {
			wg.Go(func() { _, _ = c.Read(make([]byte, 1)) })
		}
		for heard.Look(c) != heard.Busy {
			runtime.Gosched()
		}
		_ = c.Close()
		wg.Wait()
		if got := heard.Look(c); got != heard.Something {
			t.Errorf("closed: %v, want %v", got, heard.Something)
		}
	}
}
