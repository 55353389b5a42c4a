// Package pgsqlite is a stand-in for a PostgreSQL server, for a machine that has none: it speaks PostgreSQL's protocol
// over an empty SQLite database in memory. It is pure Go and runs inside the program.
//
// Call [New], hand every client's connection to [Engine.ServeConn] or [Engine.ServeConnWithPassword], and call
// [Engine.Close] at the end. Whatever database a client names, all see the same tables. Tables, indexes, views, queries,
// RETURNING, transactions, savepoints and prepared statements work. The SQL is SQLite's, with PostgreSQL's serial and
// identity columns, now(), version(), current_user and the like, gen_random_uuid(), ILIKE and casts such as $1::text added.
//
// What differs from PostgreSQL:
//   - A transaction sees the database as it was at its first statement, as with REPEATABLE READ. A write waits for the
//     transaction that wrote before it, and fails with 40001 if that one committed after this one had read.
//   - Each statement of a batch, or of a string with several, commits separately unless BEGIN was called.
//   - SQLite is loose about types: VARCHAR(255) has no limit, integers have 64 bits, and a computed condition, such as
//     SELECT a = b, is an integer; EXISTS alone is a boolean. LIKE ignores the case of ASCII letters, as ILIKE does.
//   - The type of a parameter or a quoted value is known with a cast, next to a column, in VALUES and after LIMIT;
//     elsewhere it is text. A computed column has the type of its first value in a trial run without parameters, or none.
//   - The operand of :: may be a name, a value, a call, CASE, a parenthesis or another cast; its type has no quotes, schema
//     or brackets. Length and precision are ignored, as in varchar(10), and a cast to a type that is stored as text, such
//     as date, changes nothing. A column is named after what is cast, never after the type: 1::int is ?column?.
//   - SET is remembered for SHOW but has no effect, and is not undone by ROLLBACK.
//   - There is no = ANY($1), FOR UPDATE, interval, date_trunc, extract, to_char, array_agg, greatest, DISTINCT ON, ~, INSERT in
//     WITH, nor ADD COLUMN IF NOT EXISTS. Errors about syntax and functions end with "this is SQLite behind PostgreSQL's
//     protocol".
//   - json and jsonb are the text that came, and are compared as that; SQLite has -> and ->> of their operators.
//   - COPY, LISTEN, EXPLAIN, TRUNCATE, CREATE TYPE, cursors, functions, advisory locks, roles and more fail, with 0A000 for
//     statements. There are no schemas but the
//     name public, no catalogs, so that psql has no \d, no arrays, no literals such as E'...' and $$...$$, and no TLS: the
//     tunnel in front of the engine provides it.
package pgsqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/vfs/mvcc" // in memory, and a reader never waits
)

// An Engine is one database and the connections to it. Its methods may be called from several goroutines.
type Engine struct {
	dsn    string
	anchor *sqlite3.Conn // the database lives as long as a connection to it
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // counts calls of ServeConn

	mu       sync.Mutex // guards lastID, sessions and their cancel
	lastID   uint32
	sessions map[uint32]*session
}

// New returns an engine with an empty database. Call [Engine.Close] to free it.
func New() (*Engine, error) {
	dsn := "file:/pgsqlite-" + rand.Text() + "?vfs=mvcc&_pragma=foreign_keys(1)"
	anchor, err := sqlite3.Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("pgsqlite: opening the database: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Engine{dsn: dsn, anchor: anchor, ctx: ctx, cancel: cancel, sessions: map[uint32]*session{}}, nil
}

// ServeConn serves one client until it leaves or the engine is closed, closes conn and returns. A transaction that the
// client left open is rolled back. Any user may log in.
func (e *Engine) ServeConn(conn net.Conn) {
	e.serveConn(conn, nil)
}

// ServeConnWithPassword is [Engine.ServeConn] with a login: the client is asked for a password, and refused with 28P01
// unless it gives this one and the name of this user. The password crosses conn in clear text.
func (e *Engine) ServeConnWithPassword(conn net.Conn, user, password string) {
	e.serveConn(conn, func(u, p string) bool { return u == user && p == password })
}

// serveConn serves a client. If login is nil, everybody is let in without a password.
func (e *Engine) serveConn(conn net.Conn, login func(user, password string) bool) {
	defer conn.Close()
	s := &session{
		engine:     e,
		login:      login,
		conn:       conn,
		backend:    pgproto3.NewBackend(conn, conn),
		secret:     make([]byte, 4),
		types:      pgtype.NewMap(),
		statements: map[string]*statement{},
		portals:    map[string]*portal{},
		status:     idle,
	}
	s.backend.SetMaxBodyLen(64 << 20)
	rand.Read(s.secret)

	e.mu.Lock()
	if e.ctx.Err() != nil {
		e.mu.Unlock()
		return
	}
	e.wg.Add(1)
	e.lastID++
	id := e.lastID
	e.sessions[id] = s
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.sessions, id)
		e.mu.Unlock()
		e.wg.Done()
	}()

	stop := context.AfterFunc(e.ctx, func() { conn.Close() })
	defer stop()
	if s.startup(id) {
		s.serve()
	}
}

// Close ends every connection, waits until their calls of [Engine.ServeConn] have returned, and frees the database. It
// may be called again.
func (e *Engine) Close() error {
	e.mu.Lock() // no call of ServeConn is counted after this
	e.cancel()
	e.mu.Unlock()
	e.wg.Wait()

	e.mu.Lock()
	defer e.mu.Unlock()
	return e.anchor.Close()
}

// interruptible returns a context that ends with the engine or when the client of s asks to cancel.
func (e *Engine) interruptible(s *session) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(e.ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	s.cancel = cancel
	return ctx, cancel
}

func (e *Engine) interrupt(request *pgproto3.CancelRequest) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.sessions[request.ProcessID]; s != nil && s.cancel != nil && bytes.Equal(s.secret, request.SecretKey) {
		s.cancel()
	}
}
