package race_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/race"
)

// A name with several A records, of which the first leads nowhere: net.Dialer
// waits for it for half of the time that is left, at each connection.
func TestTheAddressesOfANameAreRaced(t *testing.T) {
	t.Parallel()
	dns := cloudsqltest.NewDNS()
	server := dns.Listen()
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())

	var (
		mu     sync.Mutex
		tried  []string
		silent = "127.0.0.9:" + port
	)
	d := &race.Dialer{Dialer: net.Dialer{
		Resolver: server.Resolver(),
		ControlContext: func(ctx context.Context, _, addr string, _ syscall.RawConn) error {
			mu.Lock()
			tried = append(tried, addr)
			mu.Unlock()
			if addr == silent {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		},
	}}
	dns.SetHost("db.example.com", "127.0.0.9", "127.0.0.1") // in this order: both are as near
	for range 3 {
		c, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("db.example.com.", port))
		wantNil(t, err)
		_ = c.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	good := l.Addr().String()
	if want := []string{silent, good, good, good}; !slices.Equal(tried, want) {
		t.Errorf("tried %v, want %v", tried, want)
	}

	_, err = d.DialContext(t.Context(), "tcp", "nowhere.example.com.:1")
	if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
		t.Errorf("got %v", err)
	}
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
