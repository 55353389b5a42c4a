// Package pgstartup speaks the beginning of PostgreSQL's protocol as a client: enough to
// log in by IAM and to leave, and to know such a login of somebody else. It knows nothing
// of tokens, nor of when one logs in.
package pgstartup

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	version = 3 << 16 // 3.0

	// MostStartup is how long a StartupMessage can be, as servers have it.
	MostStartup = 10000

	mostMessage = 1 << 16 // is more than a message of a login has

	// leave is how long the server has to end a session, so that it does not log
	// one that was cut.
	leave = 500 * time.Millisecond
)

// Refusal is a server's answer to a login.
type Refusal struct{ Code, Message string }

func (r *Refusal) Error() string {
	return fmt.Sprintf("the database refuses the login: %s (SQLSTATE %s)", r.Message, r.Code)
}

// ErrPassword says that the server wants a password: this is no IAM login.
var ErrPassword = errors.New("the database asks for a password")

// Again returns what logs in as user to database once more, and the name of that. It
// reports whether there is a point in doing it again.
func Again(user, database string) (name string, login func(net.Conn) (again bool, err error)) {
	return fmt.Sprintf("user=%s database=%s", user, database), func(c net.Conn) (bool, error) {
		err := Login(c, user, database)
		return !permanent(err), err
	}
}

// permanent reports whether another login of the same user would fail like one that
// has failed with err.
func permanent(err error) bool {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		const authorization, catalog = "28", "3D"
		return strings.HasPrefix(refusal.Code, authorization) || strings.HasPrefix(refusal.Code, catalog)
	}
	return errors.Is(err, ErrPassword)
}

// Login logs in over c without a password, waits until the session is ready, and
// ends it. The caller closes c, also to end a Login that takes too long. Errors are
// a [*Refusal], [ErrPassword] and those of c.
func Login(c net.Conn, user, database string) error {
	if _, err := c.Write(startup(user, database)); err != nil {
		return err
	}
	for {
		kind, body, err := read(c)
		if err != nil {
			return err
		}
		switch kind {
		case 'E':
			return refusal(body)
		case 'R':
			if err := authenticate(c, body); err != nil {
				return err
			}
		case 'Z':
			end(c)
			return nil
		}
	}
}

func startup(user, database string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4, 64), version)
	for _, s := range []string{"user", user, "database", database, ""} {
		b = append(append(b, s...), 0)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// authenticate answers what the server asks for.
func authenticate(c net.Conn, body []byte) error {
	const ok, cleartext = 0, 3
	if len(body) < 4 {
		return io.ErrUnexpectedEOF
	}
	switch binary.BigEndian.Uint32(body) {
	case ok:
		return nil
	case cleartext: // which is what IAM login looks like where a proxy adds the token
		_, err := c.Write([]byte{'p', 0, 0, 0, 5, 0})
		return err
	}
	return ErrPassword
}

// end ends the session, unless the server has done that.
func end(c net.Conn) {
	if _, err := c.Write([]byte{'X', 0, 0, 0, 4}); err == nil {
		_ = c.SetReadDeadline(time.Now().Add(leave))
		_, _ = io.Copy(io.Discard, c)
	}
}

// read reads a message of the server's.
func read(r io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size < 4 || size > mostMessage {
		return 0, nil, fmt.Errorf("the server has sent a message of %d bytes, which is none of PostgreSQL's logins", size)
	}
	body = make([]byte, size-4)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

// refusal reads an ErrorResponse.
func refusal(body []byte) error {
	var r Refusal
	for field := range bytes.SplitSeq(body, []byte{0}) {
		if len(field) == 0 {
			break
		}
		switch value := string(field[1:]); field[0] {
		case 'C':
			r.Code = value
		case 'M':
			r.Message = value
		}
	}
	return &r
}

// Parameters returns the user and the database that a StartupMessage of protocol 3
// names, and false if message is none. The database has the user's name by default.
func Parameters(message []byte) (user, database string, ok bool) {
	const head = 8
	if len(message) < head || int(binary.BigEndian.Uint32(message)) != len(message) || binary.BigEndian.Uint32(message[4:])>>16 != version>>16 {
		return "", "", false
	}
	for rest := message[head:]; ; {
		name, after, ok1 := bytes.Cut(rest, []byte{0})
		value, after, ok2 := bytes.Cut(after, []byte{0})
		if !ok1 || !ok2 || len(name) == 0 {
			return user, cmp.Or(database, user), user != ""
		}
		switch string(name) {
		case "user":
			user = string(value)
		case "database":
			database = string(value)
		}
		rest = after
	}
}
