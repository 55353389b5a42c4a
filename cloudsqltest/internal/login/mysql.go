package login

import (
	"bytes"
	"encoding/binary"
	"sync"
)

// MySQL's capabilities.
const (
	mysqlProtocol41 = 1 << 9
	mysqlTLS        = 1 << 11
)

// mysql reads a HandshakeResponse.
func (c *Check) mysql() (v verdict, err error) {
	if err := c.need(4); err != nil {
		return v, err
	}
	v.size = mysqlSize(c.ahead)
	if err := c.need(v.size); err != nil {
		return v, err
	}
	sequence, body := c.ahead[3], c.ahead[4:v.size]
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
	body := "\xff\x15\x04#28000Access denied for user '" + Clean(user) + "'@'cloudsqlproxy~127.0.0.1' (using password: NO)" // 1045
	return append([]byte{byte(len(body)), byte(len(body) >> 8), 0, sequence}, body...)
}

// greeting takes the offer of TLS out of a MySQL server's greeting, as nobody
// could look into that.
type greeting struct {
	mu   sync.Mutex // guards everything below
	held []byte     // of a greeting that is not complete
	over bool
}

// maxGreeting bounds what is held; greetings have some 100 bytes.
const maxGreeting = 4 << 10

// alter returns what to send to the client for what the server has sent.
func (g *greeting) alter(b []byte) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return b
	}
	g.held = append(g.held, b...)
	size := 4
	if len(g.held) >= size {
		size = mysqlSize(g.held)
	}
	if len(g.held) < size && size <= maxGreeting {
		return nil
	}
	g.over = true
	b, g.held = g.held, nil
	if at := capabilitiesAt(b); at > 0 {
		lower := binary.LittleEndian.Uint16(b[at:])
		binary.LittleEndian.PutUint16(b[at:], lower&^mysqlTLS)
	}
	return b
}

// capabilitiesAt returns where a greeting has the lower half of the server's
// capabilities, or 0 if b does not begin with one.
func capabilitiesAt(b []byte) int {
	if len(b) < 5 || len(b) < mysqlSize(b) || b[4] != 10 { // an error, for example
		return 0
	}
	// Version 10: the server's version, a number of 4 bytes, 8 of a challenge, a
	// zero.
	end := bytes.IndexByte(b[5:], 0)
	at := 5 + end + 1 + 4 + 8 + 1
	if end < 0 || at+2 > mysqlSize(b) {
		return 0
	}
	return at
}
