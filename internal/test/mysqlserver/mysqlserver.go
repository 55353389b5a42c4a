// Package mysqlserver is a scripted MySQL server for tests: it checks logins as
// MySQL 8 does, answers pings and a few queries, and tells what it saw. It has
// no data, no prepared statements, and no TLS of its own. It knows nothing of
// Cloud SQL.
//
// The facts of the wire are from the public description of the MySQL
// client/server protocol. One is from the server's source: over a transport
// that it holds for secure, caching_sha2_password takes the password in clear
// text and nothing else; it does not hand out its RSA key there.
package mysqlserver

import (
	"net"
	"slices"
	"sync"
)

// Plugin is an authentication plugin of MySQL.
type Plugin string

// The plugins that the server knows.
const (
	CachingSHA2    Plugin = "caching_sha2_password"
	NativePassword Plugin = "mysql_native_password"
	ClearPassword  Plugin = "mysql_clear_password"
)

// Account is a user's password and how it is checked.
type Account struct {
	Password string
	Plugin   Plugin // Default: CachingSHA2
}

// Path is the way that a login took.
type Path string

// The paths of a login.
const (
	NoPassword Path = "no password"    // neither wanted nor given
	Scrambled  Path = "scrambled"      // mysql_native_password
	Clear      Path = "clear text"     // mysql_clear_password
	Fast       Path = "fast"           // caching_sha2_password, after a full login of that user
	FullRSA    Path = "full, RSA"      // caching_sha2_password, encrypted with the server's key
	FullClear  Path = "full, in clear" // caching_sha2_password, over a secure transport
)

// Login is an attempt to log in.
type Login struct {
	User, Database string
	Path           Path // as far as it came
	Secure         bool // the transport
	OK             bool
}

// Server is a MySQL server without a listener. Its fields must not change once
// it serves. All methods are safe for concurrent use.
type Server struct {
	// Accounts are the users, by name.
	Accounts map[string]Account

	// Greeting is the plugin that the server offers first. Default: CachingSHA2.
	Greeting Plugin

	// Secure makes the server hold every transport for secure, as MySQL does a
	// unix socket.
	Secure bool

	// Answers are the values that queries yield, one column and one row each.
	// "SELECT 1" and "SELECT @@max_allowed_packet" are known, and so are SET,
	// START TRANSACTION, COMMIT and ROLLBACK. All others are errors.
	Answers map[string]string

	mu       sync.Mutex // guards everything below
	logins   []Login
	queries  []string
	pings    int
	cached   map[string]bool // users that have logged in fully
	sessions map[*session]bool
}

// Logins returns the attempts to log in so far.
func (s *Server) Logins() []Login {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.logins)
}

// Queries returns the queries so far.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// Pings returns how many pings there were.
func (s *Server) Pings() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pings
}

// Serve serves one connection, until it ends. The transport is secure if c says
// that the client's protocol type is TLS, as a cloudsqltest.Conn does after a
// metadata exchange. Serve does not close c.
func (s *Server) Serve(c net.Conn) {
	ss := &session{server: s, conn: c}
	if s.login(ss) != nil {
		return
	}
	s.mu.Lock()
	if s.sessions == nil {
		s.sessions = map[*session]bool{}
	}
	s.sessions[ss] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sessions, ss)
	}()
	for s.command(ss) == nil {
	}
}

// ExpireIdle ends all sessions that are between two commands as wait_timeout
// does it since MySQL 8.0.24: with an error packet that nobody has asked for.
// It returns how many there were.
func (s *Server) ExpireIdle() (n int) {
	s.mu.Lock()
	sessions := make([]*session, 0, len(s.sessions))
	for ss := range s.sessions {
		sessions = append(sessions, ss)
	}
	s.mu.Unlock()
	for _, ss := range sessions {
		if ss.expire() {
			n++
		}
	}
	return n
}

func (ss *session) expire() bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.expired {
		return false
	}
	ss.expired, ss.sequence = true, 0
	err := ss.fail(4031, "HY000", "The client was disconnected by the server because of inactivity.")
	if half, ok := ss.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	return err == nil
}
