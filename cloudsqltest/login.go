package cloudsqltest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// loginCheck looks at the beginning of a connection for the name of the
// database user, and lets nothing pass before that. The server may talk first.
type loginCheck struct {
	in     io.Reader // what the client sends, without a look at the login
	out    io.Writer // to the client
	kind   string    // of the principal, in PostgreSQL's message
	user   string    // who may log in; "" is nobody
	anyone bool      // may log in, whatever user is
	parse  func(*loginCheck) (verdict, error)
	denied func(user string) // is called before the client is told
	failed func(error)       // is told what ends the connection without a word
	end    func()            // and this after that

	// pooled, if not nil, is what the pooler says of a login. keep is called when that
	// is answered.
	pooled func(user, database string) (expired bool, keep func())

	greeting *greeting              // of MySQL
	refused  atomic.Bool            // the client has been told
	answered atomic.Pointer[func()] // is called when the login is answered; nil: nothing is

	mu     sync.Mutex // guards everything below; held while one Read looks for the user
	passed bool
	ahead  []byte // what the client has sent, and the server has not read
}

// verdict is what to do with the first thing that the client has sent.
type verdict struct {
	size     int    // of what was looked at
	user     string // who wants to log in, unless one of the next two is there
	database string // of PostgreSQL
	pass     bool   // this is no login
	answer   []byte // the server's, to something that comes before a login; it is not passed on
	refuse   func(user string) []byte
}

// What bounds a login's first packet. PostgreSQL has 10,000 for that; MySQL takes
// 64 KiB of connection attributes.
const (
	maxLogin      = 16 << 10
	maxMySQLLogin = 68 << 10
)

// sizeError is what is wrong with a login whose first packet is too long.
type sizeError struct{ size, most int }

func (e *sizeError) Error() string {
	return fmt.Sprintf("the first packet has %d bytes, at most %d are taken", e.size, e.most)
}

// checkLogin returns what looks at the login of a connection, or nil unless the
// client's token has a principal, or the instance a pooler, and the engine has
// IAM login.
func (p *Proxy) checkLogin(l *link, token string, in io.Reader, out io.Writer) *loginCheck {
	principal := p.server.Principals[token]
	postgres := strings.HasPrefix(p.cfg.DatabaseVersion, "POSTGRES")
	pooler := p.cfg.Pooler
	if !postgres {
		pooler = nil
	}
	if token == "" || principal == "" && pooler == nil {
		return nil
	}
	check := &loginCheck{in: in, out: out, kind: "user", anyone: principal == "", user: cloudsqlconn.FormatIAMUser(p.cfg.DatabaseVersion, principal)}
	if strings.HasSuffix(principal, ".gserviceaccount.com") {
		check.kind = "service account"
	}
	switch {
	case postgres:
		check.parse = (*loginCheck).postgres
	case strings.HasPrefix(p.cfg.DatabaseVersion, "MYSQL"):
		check.parse = (*loginCheck).mysql
		check.greeting = &greeting{}
	default:
		return nil
	}
	if p.cfg.IAMUsers != nil && !slices.Contains(p.cfg.IAMUsers, principal) {
		check.user = ""
	}
	if pooler != nil {
		check.pooled = func(user, database string) (expired bool, keep func()) {
			expired, keep = p.pooled(user, database, token)
			if expired {
				p.logInfo("login refused: the pooler's token has expired", "client", l.raw.RemoteAddr(), "user", user, "database", database)
			}
			return expired, keep
		}
	}
	check.denied = func(user string) {
		p.count(&p.counts.Denied)
		p.logInfo("login denied", "client", l.raw.RemoteAddr(), "user", user, "principal", principal)
	}
	check.failed = func(err error) { p.complain(l, "login refused", err) }
	check.end = l.cancel // or the backend could keep the connection
	return check
}

// read is Read of the connection.
func (l *loginCheck) read(b []byte) (int, error) {
	l.mu.Lock()
	err := l.look()
	n := 0
	if err == nil {
		n = copy(b, l.ahead)
		l.ahead = l.ahead[n:]
	}
	l.mu.Unlock()
	if n > 0 || err != nil {
		return n, err
	}
	return l.in.Read(b)
}

// look reads until the user is known, and checks that. It returns [io.EOF] if
// the user is refused.
func (l *loginCheck) look() error {
	for !l.passed {
		if l.refused.Load() {
			return io.EOF
		}
		v, err := l.parse(l)
		if err != nil {
			return err
		}
		switch {
		case v.answer != nil:
			l.ahead = l.ahead[v.size:]
			if _, err := l.out.Write(v.answer); err != nil {
				return err
			}
		case v.pass:
			l.passed = true
		case !l.anyone && (v.user != l.user || l.user == ""):
			l.denied(v.user)
			l.refuse(v.refuse(v.user))
		case l.pooled != nil:
			l.pool(v)
		default:
			l.passed = true
		}
	}
	return nil
}

// refuse tells the client, and ends the connection.
func (l *loginCheck) refuse(answer []byte) {
	_, _ = l.out.Write(answer)
	l.refused.Store(true)
	l.end()
}

// need reads until n bytes are there.
func (l *loginCheck) need(n int) error {
	most := maxLogin
	if l.greeting != nil {
		most = maxMySQLLogin
	}
	if n > most {
		err := &sizeError{n, most}
		l.failed(err)
		return err
	}
	for len(l.ahead) < n {
		b := make([]byte, n-len(l.ahead))
		got, err := l.in.Read(b)
		l.ahead = append(l.ahead, b[:got]...)
		if err != nil && len(l.ahead) < n {
			return err
		}
	}
	return nil
}

// What PostgreSQL clients can begin with, instead of a version.
const (
	postgresCancel = 80877102
	postgresTLS    = 80877103
	postgresGSS    = 80877104
)

// postgres reads a StartupMessage, or what comes in its place. TLS inside the
// connection is declined: nobody could look into it.
func (l *loginCheck) postgres() (v verdict, err error) {
	if err := l.need(8); err != nil {
		return v, err
	}
	v.size = int(binary.BigEndian.Uint32(l.ahead))
	if v.size < 8 {
		return v, io.ErrUnexpectedEOF
	}
	if err := l.need(v.size); err != nil {
		return v, err
	}
	v.refuse = func(user string) []byte { return postgresDenial(l.kind, user) }
	switch binary.BigEndian.Uint32(l.ahead[4:]) {
	case postgresTLS, postgresGSS:
		v.answer = []byte("N")
	case postgresCancel:
		v.pass = true
	default:
		v.user, v.database = postgresLogin(l.ahead[8:v.size])
	}
	return v, nil
}

// postgresLogin returns the user and the database in the parameters of a
// StartupMessage. As in a real server, the last ones count, and the database has
// the user's name by default.
func postgresLogin(parameters []byte) (user, database string) {
	for {
		name, rest, ok := bytes.Cut(parameters, []byte{0})
		value, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(name) == 0 {
			return user, cmp.Or(database, user)
		}
		switch string(name) {
		case "user":
			user = string(value)
		case "database":
			database = string(value)
		}
		parameters = rest
	}
}

// postgresDenial is an ErrorResponse.
func postgresDenial(kind, user string) []byte {
	return postgresFatal("28000", "Cloud SQL IAM "+kind+` authentication failed for user "`+clean(user)+`"`)
}

func postgresFatal(state, message string) []byte {
	fields := "SFATAL\x00VFATAL\x00C" + state + "\x00M" + message + "\x00\x00"
	return append(binary.BigEndian.AppendUint32([]byte("E"), uint32(4+len(fields))), fields...)
}

// MySQL's capabilities.
const (
	mysqlProtocol41 = 1 << 9
	mysqlTLS        = 1 << 11
)

// mysql reads a HandshakeResponse.
func (l *loginCheck) mysql() (v verdict, err error) {
	if err := l.need(4); err != nil {
		return v, err
	}
	v.size = mysqlSize(l.ahead)
	if err := l.need(v.size); err != nil {
		return v, err
	}
	sequence, body := l.ahead[3], l.ahead[4:v.size]
	v.refuse = func(user string) []byte { return mysqlDenial(sequence+1, user) }
	const fixed = 4 + 4 + 1 + 23 // capabilities, packet size, character set, filler
	// A request for TLS is as short as that. A server that did not offer it gets
	// none from a client in its right mind.
	if len(body) > fixed && binary.LittleEndian.Uint32(body)&(mysqlProtocol41|mysqlTLS) == mysqlProtocol41 {
		if user, _, ok := bytes.Cut(body[fixed:], []byte{0}); ok {
			v.user = string(user)
		}
	}
	return v, nil
}

// mysqlDenial is an ERR packet.
func mysqlDenial(sequence byte, user string) []byte {
	body := "\xff\x15\x04#28000Access denied for user '" + clean(user) + "'@'cloudsqlproxy~127.0.0.1' (using password: NO)" // 1045
	return append([]byte{byte(len(body)), byte(len(body) >> 8), 0, sequence}, body...)
}

// clean makes a name fit into a message, which ends at a zero byte.
func clean(user string) string {
	return strings.ReplaceAll(user[:min(len(user), 200)], "\x00", "")
}

// Write writes to the client.
func (c *Conn) Write(b []byte) (int, error) {
	if c.login == nil {
		return c.Conn.Write(b)
	}
	return c.login.write(b)
}

// Close closes the connection. After a refused login, that is left to the end
// of the instance's part, which gives the client time to read why.
func (c *Conn) Close() error {
	if c.login != nil && c.login.refused.Load() {
		return nil
	}
	return c.Conn.Close()
}

func (l *loginCheck) write(b []byte) (int, error) {
	out := b
	if l.greeting != nil {
		out = l.greeting.alter(b)
	}
	if len(out) == 0 {
		return len(b), nil
	}
	if keep := l.answered.Swap(nil); keep != nil {
		(*keep)()
	}
	if _, err := l.out.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
