//go:build linux

package starved

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// dialKind is the kind of the calls that are bare Dials.
const dialKind = "Dial"

const (
	dialWorkers = 2 // of each caller
	poolWorkers = 4 // of each pool
	poolSize    = 3 // so that some wait
	connLife    = 5 * time.Second

	// Of the contexts of calls to pools.
	leastPatience = 300 * time.Millisecond
	mostPatience  = 3 * time.Second
)

// load is what the client does.
type load struct {
	calls   *calls
	callers []caller
	dialer  *cloudsqlconn.Dialer
	pools   []*pool
}

func newLoad(c *calls, o *orders) (*load, error) {
	d, err := newDialer(o)
	if err != nil {
		return nil, err
	}
	l := &load{calls: c, callers: o.Callers, dialer: d}
	for _, db := range o.Databases {
		p, err := newPool(d, db)
		if err != nil {
			return nil, err
		}
		l.pools = append(l.pools, p)
	}
	return l, nil
}

func newPool(d *cloudsqlconn.Dialer, db database) (*pool, error) {
	var connector driver.Connector
	var err error
	switch db.Driver {
	case "pgxpool":
		return newPgxPool(d, db)
	case "postgres":
		connector, err = postgres.NewConnector(d, db.DSN)
	case "mysql":
		connector, err = mysql.NewConnector(d, db.DSN)
	case "sqlserver":
		connector, err = sqlserver.NewConnector(d, db.DSN)
	}
	if err != nil {
		return nil, err
	}
	return newSQLPool(sql.OpenDB(connector), db), nil
}

// warmUp makes the client key and what is known of each instance, which take
// longer than most callers have.
func (l *load) warmUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, c := range l.callers {
		conn, err := l.dialer.Dial(ctx, c.Instance)
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
	for _, p := range l.pools {
		if err := p.query(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.driver, err)
		}
	}
	return nil
}

// run goes on for so long, then waits for calls that have not returned, and
// calls alive all the time. It reports whether all have.
func (l *load) run(duration time.Duration, alive func()) bool {
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	var workers sync.WaitGroup // not waited for if a call hangs, which ends the process
	for _, c := range l.callers {
		for range dialWorkers {
			workers.Go(func() { l.dial(ctx, c) })
		}
	}
	for _, p := range l.pools {
		for range poolWorkers {
			workers.Go(func() { p.work(ctx, l.calls) })
		}
	}
	return l.wait(ctx, &workers, alive)
}

// wait waits for the workers; once ctx has ended, not for calls that are not
// going to return.
func (l *load) wait(ctx context.Context, workers *sync.WaitGroup, alive func()) bool {
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return true
		case <-ticker.C:
			alive()
			l.calls.sample()
			if n, late := l.calls.missing(); ctx.Err() != nil && n > 0 && late > 40*grace {
				return false
			}
		}
	}
}

// dial opens, uses and closes connections.
func (l *load) dial(ctx context.Context, c caller) {
	patience := func() time.Duration { return c.Least + rand.N(c.Most-c.Least) }
	for ctx.Err() == nil {
		pause(ctx)
		var conn net.Conn
		err := l.calls.do(dialKind, c.Instance, patience(), func(ctx context.Context) (err error) {
			conn, err = l.dialer.Dial(ctx, c.Instance)
			return err
		})
		if err != nil {
			continue
		}
		for range 1 + rand.IntN(3) {
			if err := l.calls.do("echo", c.Instance, patience(), func(ctx context.Context) error { return ping(ctx, conn) }); err != nil {
				break
			}
			pause(ctx)
		}
		_ = l.calls.do("Close", c.Instance, time.Second, func(context.Context) error { return conn.Close() })
	}
}

// ping sends something and wants it back, before the deadline of ctx.
func ping(ctx context.Context, c net.Conn) error {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

// pause is what callers do between calls.
func pause(ctx context.Context) {
	timer := time.NewTimer(50*time.Millisecond + rand.N(200*time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// endPatience is what a pool gets to work again once all faults are over, and
// to be closed: pgx gives the server 15 s to end a connection.
const endPatience = 20 * time.Second

// end wants everything to work, and closes it. There are no faults any more.
func (l *load) end(alive func()) {
	broken := func(what string, err error) {
		if err != nil {
			l.calls.mu.Lock()
			defer l.calls.mu.Unlock()
			l.calls.outcome.Broken = append(l.calls.outcome.Broken, fmt.Sprintf("%s: %v", what, err))
		}
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	var closing sync.WaitGroup
	for _, p := range l.pools {
		closing.Go(func() {
			if err := l.calls.do(p.driver+" at the end", p.driver, endPatience, p.recovers); err != nil {
				broken(p.driver, fmt.Errorf("%w\n\tknown instances: %+v", err, l.dialer.Instances()))
			}
			_ = l.calls.do(p.driver+" Close", p.driver, endPatience, func(context.Context) error { return p.close() })
		})
	}
	if !l.wait(over, &closing, alive) {
		return
	}
	// pgx closes connections of cancelled queries in the background.
	for deadline := now() + leavePatience; l.open() != "" && now() < deadline; {
		time.Sleep(50 * time.Millisecond)
	}
	if open := l.open(); open != "" {
		broken("connections are still counted as open", errors.New(open))
	}
	broken("Dialer", l.calls.do("Dialer Close", "Dialer", endPatience, func(context.Context) error { return l.dialer.Close() }))
}

// open tells which instances have open connections.
func (l *load) open() string {
	var open []string
	for _, s := range l.dialer.Instances() {
		if s.OpenConnections != 0 {
			open = append(open, fmt.Sprintf("%v: %d", s.Name, s.OpenConnections))
		}
	}
	return strings.Join(open, ", ")
}
