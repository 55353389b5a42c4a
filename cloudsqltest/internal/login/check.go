// Package login speaks the beginning of the protocols of PostgreSQL and MySQL as a
// server: it finds out who logs in, lets that pass or refuses it in the engine's own
// form, and can turn to a MySQL server with TLS for a client that has none. It
// knows nothing of tokens, of principals and of instances.
package login

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
)

// Engine is a protocol.
type Engine int

// The engines with IAM login whose first packets are known.
const (
	PostgreSQL Engine = iota
	MySQL
)

// Config is what a [Check] has to know. Its functions are called while one Read
// looks for the user, and must not block.
type Config struct {
	Engine Engine
	In     io.Reader // what the client sends
	Out    io.Writer // to the client
	Kind   string    // of the principal, in PostgreSQL's message
	User   string    // who may log in; "" is nobody
	Anyone bool      // may log in, whatever User is
	Denied func(user string)
	Failed func(error) // is told what ends the connection without a word
	End    func()      // is called when the client has been refused

	// Ask, if not nil, is asked about a login that would pass. It returns what to tell
	// the client in place of that, or nil. answered is called when the client is about
	// to be told the one or the other.
	Ask func(user, database string) (refusal []byte, answered func())
}

// Check looks at the beginning of a connection for the name of the database
// user, and lets nothing pass before that. The server may talk first. Its methods
// are safe for concurrent use.
type Check struct {
	cfg      Config
	greeting greeting               // of MySQL
	refused  atomic.Bool            // the client has been told
	answered atomic.Pointer[func()] // is called when the login is answered; nil: nothing is

	mu     sync.Mutex // guards everything below; held while one Read looks for the user
	passed bool
	ahead  []byte // what the client has sent, and the server has not read
}

// NewCheck returns a Check of a new connection.
func NewCheck(cfg Config) *Check { return &Check{cfg: cfg} }

// Refused reports whether the client has been told that it may not log in.
func (c *Check) Refused() bool { return c.refused.Load() }

// parse reads the first thing that the client has sent.
func (c *Check) parse() (verdict, error) {
	if c.cfg.Engine == MySQL {
		return c.mysql()
	}
	return c.postgres()
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

// Read reads what the client sends, once the user is known. It returns [io.EOF] if
// the user is refused.
func (c *Check) Read(b []byte) (int, error) {
	c.mu.Lock()
	err := c.look()
	n := 0
	if err == nil {
		n = copy(b, c.ahead)
		c.ahead = c.ahead[n:]
	}
	c.mu.Unlock()
	if n > 0 || err != nil {
		return n, err
	}
	return c.cfg.In.Read(b)
}

// look reads until the user is known, and checks that. It returns [io.EOF] if
// the user is refused.
func (c *Check) look() error {
	for !c.passed {
		if c.refused.Load() {
			return io.EOF
		}
		v, err := c.parse()
		if err != nil {
			return err
		}
		switch {
		case v.answer != nil:
			c.ahead = c.ahead[v.size:]
			if _, err := c.cfg.Out.Write(v.answer); err != nil {
				return err
			}
		case v.pass:
			c.passed = true
		case !c.cfg.Anyone && (v.user != c.cfg.User || c.cfg.User == ""):
			c.cfg.Denied(v.user)
			c.refuse(v.refuse(v.user))
		default:
			c.admit(v)
		}
	}
	return nil
}

// admit lets a user log in, unless Ask refuses.
func (c *Check) admit(v verdict) {
	if c.cfg.Ask != nil {
		refusal, answered := c.cfg.Ask(v.user, v.database)
		if refusal != nil {
			answered()
			c.refuse(refusal)
			return
		}
		c.answered.Store(&answered)
	}
	c.passed = true
}

// refuse tells the client, and ends the connection.
func (c *Check) refuse(answer []byte) {
	_, _ = c.cfg.Out.Write(answer)
	c.refused.Store(true)
	c.cfg.End()
}

// need reads until n bytes are there.
func (c *Check) need(n int) error {
	most := maxPostgres
	if c.cfg.Engine == MySQL {
		most = maxMySQL
	}
	if n > most {
		err := &SizeError{n, most}
		c.cfg.Failed(err)
		return err
	}
	for len(c.ahead) < n {
		b := make([]byte, n-len(c.ahead))
		got, err := c.cfg.In.Read(b)
		c.ahead = append(c.ahead, b[:got]...)
		if err != nil && len(c.ahead) < n {
			return err
		}
	}
	return nil
}

// Write writes to the client.
func (c *Check) Write(b []byte) (int, error) {
	out := b
	if c.cfg.Engine == MySQL {
		out = c.greeting.alter(b)
	}
	if len(out) == 0 {
		return len(b), nil
	}
	if answered := c.answered.Swap(nil); answered != nil {
		(*answered)()
	}
	if _, err := c.cfg.Out.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// What bounds a login's first packet. PostgreSQL has 10,000 for that; MySQL takes
// 64 KiB of connection attributes.
const (
	maxPostgres = 16 << 10
	maxMySQL    = 68 << 10
)

// SizeError is what is wrong with a login whose first packet is too long.
type SizeError struct{ size, most int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the first packet has %d bytes, at most %d are taken", e.size, e.most)
}

// Clean makes a name fit into a message, which ends at a zero byte.
func Clean(user string) string {
	return strings.ReplaceAll(user[:min(len(user), 200)], "\x00", "")
}
