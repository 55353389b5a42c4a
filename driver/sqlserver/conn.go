package sqlserver

import (
	"context"
	"database/sql/driver"
	"fmt"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/ctxconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/heard"
)

// Conn is what sql.Conn.Raw gives: go-mssqldb's connection, except that it leaves
// the pool when the server has closed it, and not after the next query has failed,
// and that its methods return soon after their context has ended, whatever the
// server does. It is not go-mssqldb's connection itself, since database/sql calls
// the methods of what Raw gives, and go-mssqldb's wait for a silent server, for
// seconds at best. [DriverConn] gives that one.
type Conn struct {
	*mssql.Conn
	tunnel *ctxconn.Conn
}

var (
	_ driver.SessionResetter = (*Conn)(nil)
	_ driver.Validator       = (*Conn)(nil)
)

// DriverConn returns go-mssqldb's own connection underneath c, which sql.Conn.Raw
// has given, for what only that offers, such as CreateBulk. It is valid until the
// function that was passed to Raw returns. Its calls follow their context as
// go-mssqldb does: they end up to 10 s later if the server is silent, and not at all
// if it does not read. It reports false if c is not a connection to SQL Server.
func DriverConn(c any) (*mssql.Conn, bool) {
	switch c := c.(type) {
	case *Conn:
		return c.Conn, true
	case *mssql.Conn:
		return c, true
	}
	return nil, false
}

// ResetSession returns driver.ErrBadConn if the server has closed the connection.
func (c *Conn) ResetSession(ctx context.Context) error {
	if c.tunnel.Lost() || heard.Look(c.tunnel.Conn) == heard.Something {
		return driver.ErrBadConn
	}
	return c.Conn.ResetSession(ctx)
}

// IsValid reports whether the connection can be used again, as far as is known.
func (c *Conn) IsValid() bool { return !c.tunnel.Lost() && c.Conn.IsValid() }

// Ping checks that the server answers.
func (c *Conn) Ping(ctx context.Context) error {
	defer c.tunnel.Watch(ctx)()
	return c.explain(ctx, c.Conn.Ping(ctx))
}

// BeginTx begins a transaction, whose Commit and Rollback end with ctx, too.
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	defer c.tunnel.Watch(ctx)()
	// go-mssqldb sends the ROLLBACK of a context that has ended, and does not wait
	// for the answer: it would come during the next query. The tunnel ends waits.
	t, err := c.Conn.BeginTx(context.WithoutCancel(ctx), opts)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	return &tx{t, c, ctx}, nil
}

// PrepareContext returns a [*Stmt], or a statement for bulk copy, whose every Exec
// ends with ctx.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if s, ok := s.(*mssql.Stmt); ok {
		return &Stmt{s, c}, nil
	}
	return &bulk{s, c, ctx}, nil
}

// explain returns err, the error of a call with ctx, which may be why the
// connection is lost.
func (c *Conn) explain(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && c.tunnel.Lost() {
		return fmt.Errorf("mssql: %w: %w", ctx.Err(), err)
	}
	return err
}

// Stmt is go-mssqldb's statement, with methods that return as promptly as those of
// Conn.
type Stmt struct {
	*mssql.Stmt
	conn *Conn
}

// ExecContext runs the statement.
func (s *Stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	defer s.conn.tunnel.Watch(ctx)()
	r, err := s.Stmt.ExecContext(ctx, args)
	return r, s.conn.explain(ctx, err)
}

// QueryContext runs the statement. The rows, too, end with ctx.
func (s *Stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	release := s.conn.tunnel.Watch(ctx)
	r, err := s.Stmt.QueryContext(ctx, args)
	switch r := r.(type) {
	case *mssql.Rows:
		return &rows{r, release}, nil
	case *mssql.Rowsq:
		return &rowsq{r, release}, nil
	}
	release()
	return r, s.conn.explain(ctx, err)
}

type rows struct {
	*mssql.Rows
	release func()
}

func (r *rows) Close() error {
	defer r.release()
	return r.Rows.Close()
}

// rowsq are rows with messages in between, see [mssql.Rowsq].
type rowsq struct {
	*mssql.Rowsq
	release func()
}

func (r *rowsq) Close() error {
	defer r.release()
	return r.Rowsq.Close()
}

type tx struct {
	driver.Tx
	conn *Conn
	ctx  context.Context
}

func (t *tx) Commit() error {
	defer t.conn.tunnel.Watch(t.ctx)()
	return t.conn.explain(t.ctx, t.Tx.Commit())
}

func (t *tx) Rollback() error {
	defer t.conn.tunnel.Watch(t.ctx)()
	return t.conn.explain(t.ctx, t.Tx.Rollback())
}

// bulk is a bulk copy.
type bulk struct {
	driver.Stmt
	conn *Conn
	ctx  context.Context
}

// execer is of a driver.Stmt what bulk copy goes by.
type execer interface {
	Exec(args []driver.Value) (driver.Result, error)
}

func (b *bulk) Exec(args []driver.Value) (driver.Result, error) {
	defer b.conn.tunnel.Watch(b.ctx)()
	r, err := b.Stmt.(execer).Exec(args)
	return r, b.conn.explain(b.ctx, err)
}
