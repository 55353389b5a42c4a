package tds

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// Options of a PRELOGIN message, [MS-TDS] 2.2.6.5.
const (
	preloginVersion    = 0x00
	preloginEncryption = 0x01
	preloginEnd        = 0xff
)

// Encryption is what one side says about TLS inside TDS in its PRELOGIN
// message. The values are those of [MS-TDS] 2.2.6.5.
type Encryption byte

// What either side can say.
const (
	Off          Encryption = 0 // available, but only the login need be encrypted
	On           Encryption = 1 // wanted
	NotSupported Encryption = 2
	Required     Encryption = 3 // said by servers only
)

// String returns the name of the constant.
func (e Encryption) String() string {
	switch e {
	case Off:
		return "Off"
	case On:
		return "On"
	case NotSupported:
		return "NotSupported"
	case Required:
		return "Required"
	}
	return fmt.Sprintf("Encryption(%d)", byte(e))
}

// answer is what the server says to a client, by the table of [MS-TDS] 2.2.6.5.
func (s *Server) answer(client Encryption) Encryption {
	switch {
	case s.TLS == nil:
		return NotSupported
	case s.ForceEncryption && client != On:
		return Required
	}
	return client
}

// errStrict is what a client with TLS around TDS (TDS 8.0) gets to hear.
var errStrict = errors.New("the client begins with TLS: encrypt=strict, TDS 8.0, is not spoken here")

// readPrelogin returns what the client says about encryption.
func readPrelogin(r io.Reader) (Encryption, error) {
	m, err := readMessage(r, maxPacketSize)
	if err != nil {
		return 0, err
	}
	switch m.kind {
	case typePrelogin:
		return parsePrelogin(m.data)
	case 0x16: // a TLS handshake record
		return 0, errStrict
	}
	return 0, fmt.Errorf("a message of type %#02x instead of PRELOGIN", m.kind)
}

func parsePrelogin(data []byte) (Encryption, error) {
	encryption := NotSupported
	for at := 0; ; at += 5 {
		if at >= len(data) {
			return 0, errors.New("PRELOGIN without an end")
		}
		if data[at] == preloginEnd {
			return encryption, nil
		}
		if at+5 > len(data) {
			return 0, errors.New("PRELOGIN ends within an option")
		}
		offset := int(binary.BigEndian.Uint16(data[at+1:]))
		length := int(binary.BigEndian.Uint16(data[at+3:]))
		if offset+length > len(data) {
			return 0, fmt.Errorf("PRELOGIN option %#02x lies outside the message", data[at])
		}
		if data[at] != preloginEncryption {
			continue
		}
		if length != 1 || data[offset] > byte(NotSupported) {
			return 0, fmt.Errorf("PRELOGIN says %x about encryption", data[offset:offset+length])
		}
		encryption = Encryption(data[offset])
	}
}

// preloginReply is a PRELOGIN message with a version, 16.0.1000, and what the
// server says about encryption.
func preloginReply(e Encryption) []byte {
	return []byte{
		preloginVersion, 0, 11, 0, 6,
		preloginEncryption, 0, 17, 0, 1,
		preloginEnd,
		16, 0, 0x03, 0xe8, 0, 0,
		byte(e),
	}
}

// startTLS makes a TLS connection of c. The handshake travels in PRELOGIN
// messages, the rest without them.
func startTLS(c net.Conn, config *tls.Config) (*tls.Conn, error) {
	config = config.Clone()
	// The last flight of a handshake of TLS 1.3 is the client's, and what
	// follows it at once, the tickets, would be within PRELOGIN or not.
	config.MaxVersion = tls.VersionTLS12
	config.ClientAuth = tls.NoClientCert
	w := &handshakeConn{Conn: c}
	t := tls.Server(w, config)
	if err := t.Handshake(); err != nil {
		return nil, err
	}
	w.done = true
	return t, nil
}

// handshakeConn takes what it reads out of PRELOGIN messages, and wraps what it
// writes, until done.
type handshakeConn struct {
	net.Conn
	rest []byte // of the message, or the header of a record, read last
	left int    // of the record
	done bool
}

// readRecord reads from one record: what follows need not be TLS.
func (c *handshakeConn) readRecord(b []byte) (n int, err error) {
	if c.left == 0 && len(c.rest) == 0 {
		header := make([]byte, 5)
		if _, err := io.ReadFull(c.Conn, header); err != nil {
			return 0, err
		}
		c.rest, c.left = header, int(binary.BigEndian.Uint16(header[3:]))
	}
	if len(c.rest) > 0 {
		n = copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	n, err = c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

func (c *handshakeConn) Read(b []byte) (int, error) {
	if c.done {
		return c.readRecord(b)
	}
	for len(c.rest) == 0 {
		m, err := readMessage(c.Conn, maxMessageSize)
		if err != nil {
			return 0, err
		}
		if m.kind != typePrelogin {
			return 0, fmt.Errorf("a message of type %#02x within the TLS handshake", m.kind)
		}
		c.rest = m.data
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *handshakeConn) Write(b []byte) (int, error) {
	if c.done {
		return c.Conn.Write(b)
	}
	if err := writeMessage(c.Conn, typePrelogin, b, defaultPacketSize); err != nil {
		return 0, err
	}
	return len(b), nil
}
