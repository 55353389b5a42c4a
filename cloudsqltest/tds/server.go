// Package tds is a SQL Server for tests: the server side of TDS 7.4, the
// protocol of SQL Server, with answers scripted by the test. It serves behind an
// emulated instance as its Handler:
//
//	db := &tds.Server{Users: map[string]string{"app": "secret"}}
//	db.Answer("select 1", tds.Result{Columns: []tds.Column{{Type: tds.Int}}, Rows: [][]any{{1}}})
//	cloud.AddInstance(name, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: db.Serve})
//
// It supports logins, in plain text and inside TLS, with a password or with SSPI
// tokens; batches and sp_executesql with parameters; rows of the types that
// [Type] lists; transactions; errors; attention, which is how a client cancels a
// query; and bulk copies into a table if there is an answer to "select * from
// [table] SET FMTONLY OFF", with which go-mssqldb asks for its columns. It records
// what clients send, for [Server.Sessions].
//
// It runs no SQL, and has no MARS, table-valued parameters or output parameters,
// and no TDS 8.0 (encrypt=strict). Bytes and layouts are those of the public
// specification [MS-TDS].
//
// [MS-TDS]: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/
package tds

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

// Server is a SQL Server. Its fields must not be changed once it is serving; its
// methods are safe for concurrent use. The zero value lets everybody in and
// answers only the query "select 1", which is how go-mssqldb pings.
type Server struct {
	// Users are the passwords by user. A nil map lets everybody in.
	Users map[string]string

	// Databases are those that there are, besides master. With nil there is every one.
	Databases []string

	// TLS is the configuration of TLS inside TDS, which is version 1.2 at most and
	// asks for no client certificate. If it is nil, the server offers no TLS.
	TLS *tls.Config

	// ForceEncryption makes clients use TLS for everything they send. Otherwise
	// they choose: everything, the login only, or nothing.
	ForceEncryption bool

	// SSPI checks a token of integrated authentication, such as Kerberos. It is
	// called with one token after another until it returns a user, who is then
	// logged in, or an error. A reply that is not empty is sent. If SSPI is nil,
	// such logins are refused.
	SSPI func(token []byte) (reply []byte, user string, err error)

	// Handle, if not nil, answers the queries that have no answer from Answer. ctx
	// ends when the client cancels the query or disconnects; Handle must then
	// return. An error is reported to the client, see [Error]. Handle may be called
	// by several goroutines at once.
	Handle func(ctx context.Context, q Query) (Result, error)

	mu       sync.Mutex        // guards everything below
	answers  map[string]Result // by query
	sessions []*Session
}

// Session is what a client has said and done on one connection.
type Session struct {
	ClientEncryption Encryption // what the client said about it
	Encryption       Encryption // what the server answered
	TLSVersion       uint16     // 0: no TLS
	Login            Login
	User             string // who has logged in; empty: nobody
	Queries          []Query
	BulkRows         [][]any // of bulk copies; their values are as in Param
	Begun            int     // transactions
	Committed        int
	RolledBack       int
	Resets           int   // of the session, as go-mssqldb does before each use
	Attentions       int   // cancelled queries
	Ended            bool  // whether the connection has ended
	Err              error // why it ended; nil if the client hung up
}

// Answer sets the answer to a query, whatever its parameters. White space and
// semicolons around the text are ignored. For a procedure, the text is its name.
func (s *Server) Answer(query string, r Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[string]Result{}
	}
	s.answers[bare(query)] = r
}

func bare(query string) string { return strings.Trim(query, "; \t\r\n") }

var ping = Result{Columns: []Column{{Type: Int}}, Rows: [][]any{{1}}}

// Sessions returns what clients have sent so far, a Session for each connection, in
// order.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Session, len(s.sessions))
	for i, one := range s.sessions {
		all[i] = *one
		all[i].Queries = slices.Clone(one.Queries)
		all[i].BulkRows = slices.Clone(one.BulkRows)
	}
	return all
}

// Serve serves a connection until the client leaves, breaks the protocol or
// fails to log in, and closes it.
func (s *Server) Serve(c net.Conn) {
	record := &Session{}
	s.mu.Lock()
	s.sessions = append(s.sessions, record)
	s.mu.Unlock()
	x := &session{server: s, record: record, raw: c, conn: c, packetSize: defaultPacketSize}
	err := x.serve()
	x.note(func(r *Session) { r.Ended, r.Err = true, err })
}

// run answers a query.
func (s *Server) run(ctx context.Context, q Query) (Result, error) {
	text := bare(q.Text + q.Procedure)
	s.mu.Lock()
	r, ok := s.answers[text]
	s.mu.Unlock()
	switch {
	case ok:
		return r, nil
	case text == "select 1":
		return ping, nil
	case s.Handle != nil:
		return s.Handle(ctx, q)
	}
	return Result{}, fmt.Errorf("no answer is set for the query %q", text)
}
