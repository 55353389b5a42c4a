package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// After data, a refusal that a Write found led to an address: what the service
// had sent was lost, and the database got what was written a second time.
func TestARefusalAfterDataLeadsToNoAddress(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, func(s *sqlDataStream) error {
		if err := s.accept(); err != nil {
			return err
		}
		if _, err := s.Write([]byte("data")); err != nil {
			return err
		}
		return unservedScript(s)
	}, func(t *testing.T, w *world, _ *sqlDataService) {
		c := w.mustDial()
		defer c.Close()
		var err error
		for range 10 {
			time.Sleep(time.Second) // the service has gone
			if _, err = c.Write([]byte("x")); err != nil {
				break
			}
		}
		if err == nil || !byStream(c) {
			t.Errorf("Write: %v; a stream %v", err, byStream(c))
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(c, b); string(b) != "data" {
			t.Errorf("read %q, %v", b, err)
		}
		if _, err := c.Read(b); !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("got %v", err)
		}
		w.wantCalls(0)
	})
}

// changesQuotaProject connects with credentials of s that name the quota project
// "one", and has them name "two" in a file that has not been read yet.
func (w *world) changesQuotaProject(s *authtest.Server, svc *sqlDataService) {
	w.t.Helper()
	of := func(project string) []byte {
		return authtest.With(s.User(), map[string]any{"quota_project_id": project})
	}
	name := file(w.t, w.t.TempDir()+"/user.json", of("one"))
	only(w, s.InProcess().Transport, svc.options(cloudsqlconn.SQLDataOnly), cloudsqlconn.WithCredentialsFile(name))
	_ = w.mustDial().Close()
	time.Sleep(10 * time.Minute) // younger tokens are not replaced
	file(w.t, name, of("two"))
}

// When other credentials named another quota project, the Dials in progress failed
// with ErrDialerClosed.
func TestADialOutlivesAChangeOfTheQuotaProject(t *testing.T) {
	s := authtest.NewServer("admin", "login")
	t.Cleanup(s.Close)
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		svc, stop := w.withService(echoes, cloudsqlconn.SQLDataOnly)
		defer stop()
		w.changesQuotaProject(s, svc)
		s.Tokens = map[string]string{authtest.AdminScope: "new"}
		refusal := refuses(codes.Unauthenticated, "revoked")
		svc.does(then(1, func(s *sqlDataStream) error { s.sleep(900 * time.Millisecond); return refusal(s) }, then(1, refusal, echoes)))
		done := make(chan error, 1)
		go func() { done <- w.dial(ample) }()
		time.Sleep(time.Millisecond)
		for range 2 { // the second has the new client
			_ = w.mustDial().Close()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		streams := svc.begun()
		last := streams[len(streams)-1]
		if got := last.header.Get("x-goog-user-project"); len(got) != 1 || got[0] != "two" {
			t.Errorf("the last stream is counted for %q", got)
		}
	})
}

// The stream that was opened with the new token was counted for the project of the
// old one.
func TestAReplacedTokenBringsItsQuotaProject(t *testing.T) {
	s := authtest.NewServer("admin", "login")
	t.Cleanup(s.Close)
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		svc, stop := w.withService(echoes, cloudsqlconn.SQLDataOnly)
		defer stop()
		w.changesQuotaProject(s, svc)
		s.Tokens = map[string]string{"": "new"}
		svc.does(then(1, refuses(codes.Unauthenticated, "revoked"), echoes))
		_ = w.mustDial().Close()
		var got []string
		for _, stream := range svc.begun() {
			got = append(got, stream.header.Get("authorization")[0]+" "+stream.header.Get("x-goog-user-project")[0])
		}
		if want := []string{"Bearer admin one", "Bearer admin one", "Bearer new two"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// countedConn counts those that are open.
type countedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// An option that is made anew for each Dial, as in a driver's dial function, is a
// route of its own: each left a connection open for five minutes.
func TestOptionsMadeForEachDialLeaveFewConnections(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, s *sqlDataService) {
		var open atomic.Int64
		for range 300 {
			_ = w.mustDial(cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := s.dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				open.Add(1)
				return &countedConn{Conn: c, open: &open}, nil
			})).Close()
			time.Sleep(100 * time.Millisecond)
		}
		if n := open.Load(); n > 64 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// Warmup succeeded, and the Dial after it failed for want of a token.
func TestWarmupOfSQLDataNeedsAToken(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.onlyWith()
		if err := w.dialer.Warmup(t.Context(), testInstance, cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataOnly)); !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(cloudsqlconn.Hint(err), "WithTokenSource") {
			t.Errorf("got %v; %s", err, cloudsqlconn.Hint(err))
		}
	})
}
