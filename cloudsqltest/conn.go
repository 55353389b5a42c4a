package cloudsqltest

import (
	"crypto/tls"
	"net"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/login"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
)

// Conn is a connection as a Handler sees it: decrypted, from a client that has
// presented a good certificate.
type Conn struct {
	*tls.Conn
	token    string
	exchange *mdx.Server  // nil if the instance does not know the metadata exchange
	login    *login.Check // nil if the login is not checked
}

// Token returns the login token in the client's certificate, or "".
func (c *Conn) Token() string { return c.token }

// ClientProtocolType returns what the client has announced so far in a metadata
// exchange: TCP, TLS, UDS, UNSPECIFIED, or "" if there was none.
func (c *Conn) ClientProtocolType() string {
	if c.exchange == nil || c.exchange.Request() == nil {
		return ""
	}
	return c.exchange.Request().ClientProtocolType.String()
}

// secure reports whether the client has told that its way to the database is.
func (c *Conn) secure() bool {
	told := c.ClientProtocolType()
	return told == "TLS" || told == "UDS"
}

// Read reads what the client sends after its metadata.
func (c *Conn) Read(b []byte) (int, error) {
	if c.login != nil {
		return c.login.Read(b)
	}
	return c.read(b)
}

// unchecked reads without a look at the login.
type unchecked struct{ *Conn }

func (c unchecked) Read(b []byte) (int, error) { return c.read(b) }

func (c *Conn) read(b []byte) (int, error) {
	if c.exchange == nil {
		return c.Conn.Read(b)
	}
	return c.exchange.Read(b)
}

// Write writes to the client.
func (c *Conn) Write(b []byte) (int, error) {
	if c.login == nil {
		return c.Conn.Write(b)
	}
	return c.login.Write(b)
}

// Close closes the connection. After a refused login, that is left to the end
// of the instance's part, which gives the client time to read why.
func (c *Conn) Close() error {
	if c.login != nil && c.login.Refused() {
		return nil
	}
	return c.Conn.Close()
}

// StreamConn is a connection through SQL Data as a Handler sees it.
type StreamConn struct {
	net.Conn
	token string
	login *login.Check // nil if the login is not checked
}

// Token returns the API token of the stream if its client has asked for IAM
// login, or "".
func (c *StreamConn) Token() string { return c.token }

// Read reads what the client sends.
func (c *StreamConn) Read(b []byte) (int, error) {
	if c.login == nil {
		return c.Conn.Read(b)
	}
	return c.login.Read(b)
}

// Write writes to the client.
func (c *StreamConn) Write(b []byte) (int, error) {
	if c.login == nil {
		return c.Conn.Write(b)
	}
	return c.login.Write(b)
}

// CloseWrite ends the direction to the client, and with it the stream, once
// everything has been sent.
func (c *StreamConn) CloseWrite() error {
	sockets.CloseWrite(c.Conn)
	return nil
}

// Close closes the connection. After a refused login, the instance closes it
// instead.
func (c *StreamConn) Close() error {
	if c.login != nil && c.login.Refused() {
		return nil
	}
	return c.Conn.Close()
}
