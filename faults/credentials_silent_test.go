package faults_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// onMachine makes this a machine whose metadata server is at addr.
func onMachine(t *testing.T, addr net.Addr) {
	t.Helper()
	t.Setenv("NO_GCE_CHECK", "")
	t.Setenv("GCE_METADATA_HOST", addr.String())
}

// silentServer does not answer before the client has gone.
func silentServer(t *testing.T) (addr net.Addr, asked chan struct{}) {
	t.Helper()
	asked = make(chan struct{}, 100)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr(), asked
}

// lookups are the calls of a Dialer that may look the credentials up.
var lookups = map[string]func(ctx context.Context, d *cloudsqlconn.Dialer) error{
	"IAMPrincipal": func(ctx context.Context, d *cloudsqlconn.Dialer) error {
		_, err := d.IAMPrincipal(ctx)
		return err
	},
	"Dial": func(ctx context.Context, d *cloudsqlconn.Dialer) error {
		_, err := d.Dial(ctx, testInstance)
		return err
	},
	"Check": func(ctx context.Context, d *cloudsqlconn.Dialer) error {
		report, err := d.Check(ctx, testInstance)
		if err != nil {
			return err
		}
		return report.Err()
	},
}

// With a metadata server that accepts and says nothing, IAMPrincipal with 200
// ms and Check with 200 ms took 20.0 s, and so did a Ping with 500 ms through a
// driver: the look-up ran on a context of its own, and everybody waited for it.
// Issue 13, 9b.
func TestALookUpHoldsNobodyForLongerThanHisContext(t *testing.T) {
	for name, call := range lookups {
		t.Run(name, func(t *testing.T) {
			g := newGoogle(t)
			addr, asked := silentServer(t)
			onMachine(t, addr)
			d := g.dialer(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() { failed <- call(ctx, d) }()
			<-asked
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the caller's own context error", err)
			}
		})
	}
}

// After Close, callers waited on, and a goroutine remained. Issue 13, 9b.
func TestCloseEndsALookUp(t *testing.T) {
	for name, call := range lookups {
		t.Run(name, func(t *testing.T) {
			g := newGoogle(t)
			addr, asked := silentServer(t)
			onMachine(t, addr)
			d := g.dialer(t)
			failed := make(chan error, 1)
			go func() { failed <- call(context.Background(), d) }()
			<-asked
			_ = d.Close()
			if err := <-failed; !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
				t.Errorf("got %v, want ErrDialerClosed", err)
			}
		})
	}
}

// The address was asked for at every connect: five connects, five requests, and
// no connect without the metadata server although certificate and tokens were
// there. Issue 13, 9d.
func TestTheAddressIsAskedForOncePerLookUp(t *testing.T) {
	g := newGoogle(t)
	onMachine(t, g.auth.Listener.Addr())
	var asked atomic.Int64
	var gone atomic.Bool
	g.auth.Fail = func(r *http.Request) *authtest.Failure {
		if strings.HasSuffix(r.URL.Path, "/email") {
			asked.Add(1)
		}
		if gone.Load() {
			return &authtest.Failure{Code: http.StatusForbidden}
		}
		return nil
	}
	d := g.dialer(t)
	for i := range 5 {
		if i == 3 {
			gone.Store(true)
		}
		c := g.wantConn(t, d, g.LoginToken(), cloudsqlconn.WithIAMAuthN(true))
		info, _ := cloudsqlconn.InfoOf(c)
		for _, ask := range []func(context.Context) (string, error){d.IAMPrincipal, info.LoginPrincipal} {
			if got, err := ask(t.Context()); got != authtest.Account || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the address was asked for %d times", n)
	}
}

// A metadata server that gives tokens but does not tell the address is in the
// way of nobody who needs no address, and holds those who do need it no longer than
// they want.
func TestASilentAddressIsInNobodysWay(t *testing.T) {
	g := newGoogle(t)
	onMachine(t, g.auth.Listener.Addr())
	asked := make(chan struct{}, 100)
	g.auth.Fail = func(r *http.Request) *authtest.Failure {
		if !strings.HasSuffix(r.URL.Path, "/email") {
			return nil
		}
		asked <- struct{}{}
		<-r.Context().Done()
		return &authtest.Failure{Code: http.StatusForbidden}
	}
	d := g.dialer(t)
	g.wantConn(t, d, "")
	c := g.wantConn(t, d, g.LoginToken(), cloudsqlconn.WithIAMAuthN(true))
	if n := len(asked); n != 0 {
		t.Errorf("the address was asked for %d times", n)
	}
	info, _ := cloudsqlconn.InfoOf(c)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	for _, tt := range []struct {
		end  func()
		want error
	}{
		{cancel, context.Canceled},
		{func() { _ = d.Close() }, cloudsqlconn.ErrDialerClosed},
	} {
		go func() {
			_, err := info.LoginPrincipal(ctx)
			failed <- err
		}()
		<-asked
		tt.end()
		if err := <-failed; !errors.Is(err, tt.want) {
			t.Errorf("LoginPrincipal: got %v, want %v", err, tt.want)
		}
		ctx = t.Context()
	}
}
