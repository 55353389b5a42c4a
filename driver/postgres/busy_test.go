package postgres_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// answerSelects is a PostgreSQL that knows no passwords and one answer, which is
// one TLS record.
func answerSelects(c net.Conn) {
	backend := pgproto3.NewBackend(c, c)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for backend.Flush() == nil {
		msg, err := backend.Receive()
		if err != nil {
			return
		}
		switch msg := msg.(type) {
		case *pgproto3.Query:
			if msg.String == "-- ping" || msg.String == ";" {
				backend.Send(&pgproto3.EmptyQueryResponse{})
			} else {
				backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
			}
			backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		default:
			return
		}
	}
}

// slowConn is a connection whose Writes can be made slow: they return only when
// the answer has been read and another Read waits. That is what a busy machine
// does to them.
type slowConn struct {
	*net.TCPConn
	mu    sync.Mutex // guards everything below
	moved *sync.Cond
	slow  bool
	reads int // that are waiting
	got   int // that have brought something
}

func (c *slowConn) Read(b []byte) (int, error) {
	c.add(1, 0)
	n, err := c.TCPConn.Read(b)
	c.add(-1, min(n, 1))
	return n, err
}

func (c *slowConn) add(reads, got int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads += reads
	c.got += got
	c.moved.Broadcast()
}

func (c *slowConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	before := c.got
	c.mu.Unlock()
	n, err := c.TCPConn.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.slow && err == nil && (c.got == before || c.reads == 0) {
		c.moved.Wait()
	}
	return n, err
}

func (c *slowConn) setSlow(slow bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow = slow
}

func (c *slowConn) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads
}

// pgx reads in the background while a Write takes more than 15 ms, and may leave
// a Read waiting when that is over. The look at the idle connection waited for
// that Read, whatever the contexts said: a pool on a busy machine hung for ever.
// A program's own rule when to ping does not take the look away.
func TestAPoolDoesNotHangAfterASlowWrite(t *testing.T) {
	t.Parallel()
	const dsn = "user=app pool_max_conns=1 host=" + instance
	t.Run("NewPool", func(t *testing.T) {
		t.Parallel()
		writeSlowly(t, func(d *cloudsqlconn.Dialer) *pgxpool.Pool {
			pool, err := postgres.NewPool(t.Context(), d, dsn)
			if err != nil {
				t.Fatal(err)
			}
			return pool
		})
	})
	t.Run("ConfigurePool", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Bool
		writeSlowly(t, func(d *cloudsqlconn.Dialer) *pgxpool.Pool {
			return poolOf(t, d, dsn, func(cfg *pgxpool.Config) {
				cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool {
					asked.Store(true)
					return false
				}
			})
		})
		if !asked.Load() {
			t.Error("the program's own function was not asked")
		}
	})
}

// writeSlowly has a pool's connection write slowly.
func writeSlowly(t *testing.T, newPool func(*cloudsqlconn.Dialer) *pgxpool.Pool) {
	t.Helper()
	s := cloudsqltest.NewServer()
	defer s.Close()
	s.AddInstance(instance, cloudsqltest.Instance{Handler: answerSelects})
	var slow *slowConn
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := s.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		slow = &slowConn{TCPConn: c.(*net.TCPConn)}
		slow.moved = sync.NewCond(&slow.mu)
		return slow, nil
	}
	d := newDialer(t, append(s.Options(), cloudsqlconn.WithDialFunc(dial))...)
	pool := newPool(d)
	defer pool.Close()
	exec := func() {
		t.Helper()
		done := make(chan error, 1)
		go func() {
			_, err := pool.Exec(t.Context(), "select 1")
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute): // for a test that hangs only
			_ = slow.Close()
			t.Fatal("Exec hangs")
		}
	}
	exec()
	slow.setSlow(true)
	exec()
	slow.setSlow(false)
	if slow.waiting() == 0 {
		t.Fatal("the fault did not happen: no Read waits on the idle connection")
	}
	exec()
	exec()
	if n := pool.Stat().NewConnsCount(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
