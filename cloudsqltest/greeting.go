package cloudsqltest

import (
	"bytes"
	"encoding/binary"
	"sync"
)

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
