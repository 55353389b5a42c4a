package failover_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/failover"
)

const (
	domain = "db.example.com"
	period = 30 * time.Second
)

// dns says where the domain leads; any other leads to a.
type dns struct {
	mu      sync.Mutex // guards everything below
	name    string
	err     error
	lookups int
}

func (d *dns) find(_ context.Context, asked string) (failover.Instance, error) {
	if asked != domain {
		return failover.Instance{Domain: asked, Name: "a"}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookups++
	return failover.Instance{Domain: domain, Name: d.name}, d.err
}

func (d *dns) set(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.name, d.err = name, err
}

func (d *dns) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lookups
}

// conn is a connection that can be cut.
type conn struct{ cut atomic.Pointer[error] }

func (c *conn) Cut(reason error) bool { return c.cut.CompareAndSwap(nil, &reason) }

// reason is why it was cut; nil: it was not.
func (c *conn) reason() error {
	if reason := c.cut.Load(); reason != nil {
		return *reason
	}
	return nil
}

// inWorld runs a test with a follower of a domain that leads to the instance a.
func inWorld(t *testing.T, test func(t *testing.T, d *dns, f *failover.Follower)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dns{name: "a"}
		f := failover.New(d.find, period, slog.New(slog.DiscardHandler))
		defer f.Close()
		test(t, d, f)
	})
}

func TestConnectionsAreCutWhenTheirNameLeadsElsewhere(t *testing.T) {
	inWorld(t, func(t *testing.T, d *dns, f *failover.Follower) {
		var old, fresh, other conn
		f.Opened(&old, failover.Instance{Domain: domain, Name: "a"})
		f.Opened(&other, failover.Instance{Domain: "other.example.com", Name: "a"})
		time.Sleep(period + 1)
		synctest.Wait()
		if old.reason() != nil || d.asked() == 0 {
			t.Fatalf("after %d look-ups that have changed nothing: %v", d.asked(), old.reason())
		}
		f.Opened(&fresh, failover.Instance{Domain: domain, Name: "b"})
		d.set("b", nil)
		time.Sleep(period)
		synctest.Wait()
		if want := domain + " now leads to b, and this connection to a"; !errors.Is(old.reason(), net.ErrClosed) || !strings.Contains(old.reason().Error(), want) {
			t.Errorf("the old connection: %v, want %q", old.reason(), want)
		}
		if fresh.reason() != nil || other.reason() != nil {
			t.Errorf("others: %v, %v", fresh.reason(), other.reason())
		}
	})
}

func TestAFailedLookUpSaysNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, d *dns, f *failover.Follower) {
		var c conn
		f.Opened(&c, failover.Instance{Domain: domain, Name: "a"})
		d.set("", errors.New("SERVFAIL"))
		time.Sleep(10 * period)
		synctest.Wait()
		if c.reason() != nil || d.asked() < 9 {
			t.Errorf("%v, after %d look-ups", c.reason(), d.asked())
		}
	})
}

func TestNamesWithoutConnectionsAreNotLookedUp(t *testing.T) {
	inWorld(t, func(t *testing.T, d *dns, f *failover.Follower) {
		var c conn
		closed := f.Opened(&c, failover.Instance{Domain: domain, Name: "a"})
		closed()
		time.Sleep(10 * period)
		synctest.Wait()
		if d.asked() != 0 {
			t.Errorf("%d look-ups", d.asked())
		}
		f.Opened(&c, failover.Instance{Domain: domain, Name: "a"})
		f.Close()
		time.Sleep(10 * period)
		synctest.Wait()
		if d.asked() != 0 {
			t.Errorf("%d look-ups after Close", d.asked())
		}
	})
}
