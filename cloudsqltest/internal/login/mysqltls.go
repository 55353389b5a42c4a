package login

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// MeetMySQL leads a client and its server up to the client's first packet, and
// returns the connection to the server on which they go on; nil if they do not.
//
// A client for which secure reports true, at its first packet, holds its way to
// MySQL for secure, and sends passwords as they are. MySQL takes them like that
// only if it holds its own side for secure: it gets TLS, as if the client had
// asked for it.
func MeetMySQL(ctx context.Context, c net.Conn, secure func() bool, backend net.Conn) (net.Conn, error) {
	raw := &bufferedConn{backend, bufio.NewReader(backend)}
	greeting, err := readMySQL(raw, maxGreeting)
	if _, toldErr := c.Write(greeting); err != nil || toldErr != nil {
		return raw, nil //nolint:nilerr // whatever comes instead of a greeting, the client is to see it
	}
	first, err := raw.afterGreeting(c)
	if first == nil {
		return nil, err
	}
	if !secure() || !offersTLS(greeting) || len(first) < mysqlTLSRequest || first[5]&(mysqlTLS>>8) != 0 {
		_, err := raw.Write(first)
		return raw, err
	}
	first[5] |= mysqlTLS >> 8
	request := append([]byte{mysqlTLSRequest - 4, 0, 0, first[3]}, first[4:mysqlTLSRequest]...)
	if _, err := raw.Write(request); err != nil {
		return nil, err
	}
	leg := &mysqlLeg{Conn: tls.Client(raw, &tls.Config{InsecureSkipVerify: true})} //nolint:gosec // it is the test's own server
	if err := leg.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with MySQL: %w", err)
	}
	_, err = leg.Write(first)
	return leg, err
}

// mysqlTLSRequest is the size of a client's request for TLS, which is the
// beginning of its first packet: header, capabilities, packet size, character
// set, filler.
const mysqlTLSRequest = 4 + 4 + 4 + 1 + 23

// readMySQL reads a packet with its header. What has been read is returned with
// an error, too.
func readMySQL(r io.Reader, most int) ([]byte, error) {
	b := make([]byte, 4)
	n, err := io.ReadFull(r, b)
	if err != nil {
		return b[:n], err
	}
	size := mysqlSize(b)
	if size > most {
		return b, &SizeError{size, most}
	}
	b = append(b, make([]byte, size-4)...)
	n, err = io.ReadFull(r, b[4:])
	return b[:4+n], err
}

// mysqlSize is the size of a packet with its header.
func mysqlSize(b []byte) int { return 4 + int(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16) }

// bufferedConn is the connection to a server.
type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.in.Read(p) }

// CloseWrite ends the direction to the server.
func (b *bufferedConn) CloseWrite() error {
	sockets.CloseWrite(b.Conn)
	return nil
}

// afterGreeting returns the client's first packet, or nil if there is none. If
// the server loses patience before that, the client hears it. The error is for a
// packet that is too long.
func (b *bufferedConn) afterGreeting(c net.Conn) ([]byte, error) {
	silent := make(chan bool, 1)
	go func() { // ends before afterGreeting returns
		_, err := b.in.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			silent <- true
			return
		}
		sockets.Forward(c, b)
		silent <- false
	}()
	first, err := readMySQL(c, maxMySQL)
	_ = b.SetReadDeadline(time.Unix(1, 0))
	if ok := <-silent; !ok {
		return nil, nil
	}
	_ = b.SetReadDeadline(time.Time{})
	if err != nil {
		if long, ok := errors.AsType[*SizeError](err); ok {
			return nil, long
		}
		return nil, nil
	}
	return first, nil
}

// mysqlLeg is a connection with TLS to a server, whose client has not asked for
// that: up to the end of the login, packets have a number more there.
type mysqlLeg struct {
	*tls.Conn
	loggedIn atomic.Bool // or refused; set before the client can know
	in, out  []byte      // what Read has not returned, and Write has not written; each is one goroutine's
}

func (l *mysqlLeg) Read(b []byte) (int, error) {
	if len(l.in) == 0 && !l.loggedIn.Load() {
		packet, err := readMySQL(l.Conn, 1<<24)
		if err != nil {
			return 0, err
		}
		packet[3]--
		if len(packet) > 4 && (packet[4] == 0 || packet[4] == 0xff) { // OK, error
			l.loggedIn.Store(true)
		}
		l.in = packet
	}
	if len(l.in) == 0 {
		return l.Conn.Read(b)
	}
	n := copy(b, l.in)
	l.in = l.in[n:]
	return n, nil
}

func (l *mysqlLeg) Write(b []byte) (int, error) {
	if len(l.out) == 0 && l.loggedIn.Load() {
		return l.Conn.Write(b)
	}
	l.out = append(l.out, b...)
	for len(l.out) >= 4 && len(l.out) >= mysqlSize(l.out) {
		size := mysqlSize(l.out)
		l.out[3]++
		if _, err := l.Conn.Write(l.out[:size]); err != nil {
			return 0, err
		}
		l.out = l.out[size:]
	}
	return len(b), nil
}

// offersTLS reports whether a server's greeting does.
func offersTLS(packet []byte) bool {
	at := capabilitiesAt(packet)
	return at > 0 && binary.LittleEndian.Uint16(packet[at:])&mysqlTLS != 0
}
