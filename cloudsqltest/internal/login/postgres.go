package login

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"
)

// What PostgreSQL clients can begin with, instead of a version.
const (
	postgresCancel = 80877102
	postgresTLS    = 80877103
	postgresGSS    = 80877104
)

// postgres reads a StartupMessage, or what comes in its place. TLS inside the
// connection is declined: nobody could look into it.
func (c *Check) postgres() (v verdict, err error) {
	if err := c.need(8); err != nil {
		return v, err
	}
	v.size = int(binary.BigEndian.Uint32(c.ahead))
	if v.size < 8 {
		return v, io.ErrUnexpectedEOF
	}
	if err := c.need(v.size); err != nil {
		return v, err
	}
	v.refuse = func(user string) []byte { return postgresDenial(c.cfg.Kind, user) }
	switch binary.BigEndian.Uint32(c.ahead[4:]) {
	case postgresTLS, postgresGSS:
		v.answer = []byte("N")
	case postgresCancel:
		v.pass = true
	default:
		v.user, v.database = postgresLogin(c.ahead[8:v.size])
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
	return PostgresError("28000", "Cloud SQL IAM "+kind+` authentication failed for user "`+Clean(user)+`"`)
}

// PostgresError is an ErrorResponse that ends a session. The message must have no
// zero bytes, see [Clean].
func PostgresError(state, message string) []byte {
	fields := "SFATAL\x00VFATAL\x00C" + state + "\x00M" + message + "\x00\x00"
	return append(binary.BigEndian.AppendUint32([]byte("E"), uint32(4+len(fields))), fields...)
}
