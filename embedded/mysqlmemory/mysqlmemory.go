// Package mysqlmemory is a stand-in for a MySQL server that runs inside the program: go-mysql-server, a MySQL engine in
// pure Go, with its database in memory.
//
// Call [New], hand every client's connection to [Engine.ServeConn] or [Engine.ServeConnWithPassword], and call
// [Engine.Close] at the end. All clients see the same tables. Most of MySQL 8's SQL, information_schema and prepared
// statements work.
//
// What differs from MySQL:
//   - Transactions do not wait for each other, and of two that change the same table the last to commit may win.
//   - There are no accounts but the one that logs in, and no privileges: whoever is in may do everything.
//   - Files cannot be read or written.
//   - A query keeps running when its client has left, until it has a result to send or the engine is closed.
//   - There is no TLS: the tunnel in front of the engine provides it.
package mysqlmemory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	gms "github.com/dolthub/go-mysql-server"
	"github.com/dolthub/go-mysql-server/memory"
	"github.com/dolthub/go-mysql-server/server"
	"github.com/dolthub/go-mysql-server/sql"
	"github.com/dolthub/vitess/go/mysql"
)

// serverVersion is what the engine's version() returns.
const serverVersion = "8.0.31"

// noFiles is a folder that cannot be: Go opens no path with a zero byte, whatever the system. SQL reads and writes files
// in the folder of secure_file_priv, or all if it is empty.
const noFiles = "none\x00"

// creating is held while an engine is made: that initializes variables that all engines of the process share.
var creating sync.Mutex

// forbidFiles changes a variable that all engines of the process share.
var forbidFiles = sync.OnceValue(func() error {
	return sql.SystemVariables.AssignValues(map[string]any{"secure_file_priv": noFiles})
})

// An Engine is one database and the connections to it. Its methods may be called from several goroutines.
type Engine struct {
	engine   *gms.Engine
	server   *server.Server
	incoming *listener
	accepts  sync.WaitGroup // the goroutine that accepts
	ctx      context.Context
	cancel   context.CancelFunc
	free     func() error // once

	mu     sync.Mutex // guards everything below
	closed bool
	open   map[*conn]struct{}
	wg     sync.WaitGroup // counts calls that serve
}

// New returns an engine with an empty database of that name. Call [Engine.Close] to free it.
func New(database string) (*Engine, error) {
	creating.Lock()
	defer creating.Unlock()
	if err := forbidFiles(); err != nil {
		return nil, fmt.Errorf("mysqlmemory: %w", err)
	}
	provider := memory.NewDBProvider(memory.NewDatabase(database))
	e := &Engine{engine: gms.NewDefault(provider), incoming: newListener(), open: map[*conn]struct{}{}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.free = sync.OnceValue(e.close)
	var err error
	e.server, err = server.NewServer(server.Config{
		Listener: e.incoming, Version: serverVersion, AllowClearTextWithoutTLS: true, ProtocolListenerFactory: listen,
	}, e.engine, e.newContext, memory.NewSessionBuilder(provider), nil)
	if err != nil {
		e.cancel()
		return nil, fmt.Errorf("mysqlmemory: %w", errors.Join(err, e.engine.Close()))
	}
	e.accepts.Go(e.server.Listener.Accept)
	return e, nil
}

// newContext makes every query end with the engine. The server's own context never ends.
func (e *Engine) newContext(_ context.Context, options ...sql.ContextOption) *sql.Context {
	return sql.NewContext(e.ctx, options...)
}

// listen makes the server ask this package, not its table of users.
func listen(cfg server.Config, l mysql.ListenerConfig, events server.ServerEventListener) (server.ProtocolListener, error) {
	l.AuthServer = authServer{}
	return server.MySQLProtocolListenerFactory(cfg, l, events)
}

// ServeConn serves one client until it leaves or the engine is closed, closes c and returns. Any user may log in, with
// whatever password.
func (e *Engine) ServeConn(c net.Conn) { e.serveConn(c, nil) }

// ServeConnWithPassword is [Engine.ServeConn] for one user: others, and those without the password, are refused with
// 1045. The password is asked for as mysql_native_password or caching_sha2_password do.
func (e *Engine) ServeConnWithPassword(c net.Conn, user, password string) {
	e.serveConn(c, &login{user, password})
}

func (e *Engine) serveConn(raw net.Conn, l *login) {
	c := &conn{Conn: raw, login: l, ended: make(chan struct{})}
	defer c.Close()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.open[c] = struct{}{}
	e.wg.Add(1)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.open, c)
		e.mu.Unlock()
		e.wg.Done()
	}()
	if e.incoming.hand(c) {
		<-c.ended
	}
}

// Close ends every connection and query, waits until the calls that serve them have returned, and frees the database.
// Concurrent and later calls wait for the first and return the same.
func (e *Engine) Close() error { return e.free() }

func (e *Engine) close() error {
	e.mu.Lock()
	e.closed = true
	for c := range e.open {
		_ = c.Conn.Close() // c ends when the server has noticed
	}
	e.mu.Unlock()
	e.cancel()
	e.server.Listener.Close()
	e.accepts.Wait()
	e.wg.Wait()
	err := e.engine.Close()
	if errors.Is(err, context.Canceled) {
		return nil // its background threads say so when they were told to end
	}
	return err
}
