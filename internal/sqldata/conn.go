package sqldata

import (
	"net"
	"time"
)

// Conn is a stream: a connection to an instance's database. It is a net.Conn
// with real deadlines: a Read or Write that one has ended can go on after it,
// and nothing is lost. All methods may be called at the same time.
type Conn struct{}

var _ net.Conn = (*Conn)(nil)

// Answered reports whether the service has accepted the session.
func (c *Conn) Answered() bool { return false }

// Read reads what the database has sent. Its error is io.EOF at the end of the
// database connection, and a [*StatusError] if the stream has failed.
func (c *Conn) Read(b []byte) (int, error) { return 0, nil }

// Write writes to the database.
func (c *Conn) Write(b []byte) (int, error) { return 0, nil }

// CloseWrite tells the database that nothing more will be written.
func (c *Conn) CloseWrite() error { return nil }

// Close closes the connection, and returns at once. What Write has taken is
// delivered in the background, for a second at most.
func (c *Conn) Close() error { return nil }

// LocalAddr and RemoteAddr are an [Addr].
func (c *Conn) LocalAddr() net.Addr  { return nil }
func (c *Conn) RemoteAddr() net.Addr { return nil }

// SetDeadline, SetReadDeadline and SetWriteDeadline are those of net.Conn.
func (c *Conn) SetDeadline(t time.Time) error      { return nil }
func (c *Conn) SetReadDeadline(t time.Time) error  { return nil }
func (c *Conn) SetWriteDeadline(t time.Time) error { return nil }
