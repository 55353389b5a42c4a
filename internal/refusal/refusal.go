// Package refusal tells a client of a database why it is not connected, in its
// own protocol: a closed socket would tell nothing. It knows neither listeners nor instances.
package refusal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/deadline"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

const (
	// speakUp is how long a client whose protocol is not known is waited for.
	// PostgreSQL's talks first, MySQL's waits for the server.
	speakUp = time.Second

	// patience bounds all that is sent and read for a refusal.
	patience = 5 * time.Second

	// maxStartup is what PostgreSQL takes for its first message.
	maxStartup = 10000
)

// SilentHint is what to do about a database that ends a connection before it has
// said anything.
const SilentHint = "The path to the database works, but the database does not answer: check whether the instance is starting, out of memory or at its connection limit, and look at its log."

// Tell sends message, and hint if the protocol has a place for it, to a client
// that has not been sent anything yet. version is the database version that the
// Admin API reports; if it is empty, the client shows its protocol. The caller
// closes c.
func Tell(c net.Conn, version, message, hint string) error {
	c = deadline.Of(c)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	switch engine.Of(version) {
	case engine.Postgres:
		return postgres(c, message, hint)
	case engine.MySQL:
		return mysql(c, message)
	case engine.SQLServer:
		return sqlServer(c, message)
	}
	return unknown(c, message, hint)
}

func unknown(c net.Conn, message, hint string) error {
	if err := c.SetReadDeadline(time.Now().Add(speakUp)); err != nil {
		return err
	}
	var first [1]byte
	_, err := io.ReadFull(c, first[:])
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return mysql(c, message)
	case err != nil:
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	whole := struct {
		io.Reader
		io.Writer
	}{io.MultiReader(bytes.NewReader(first[:]), c), c}
	if first[0] == tdsPrelogin { // PostgreSQL begins with a length of less than 16 MiB
		return sqlServer(whole, message)
	}
	return postgres(whole, message, hint)
}

// What PostgreSQL's clients ask for before the startup message.
const (
	sslRequest    = 80877103
	gssRequest    = 80877104
	cancelRequest = 80877102
)

// postgres answers the startup message with an ErrorResponse.
func postgres(c io.ReadWriter, message, hint string) error {
	for range 4 { // TLS, GSSAPI, and each once more
		code, err := startup(c)
		switch {
		case err != nil:
			return err
		case code == sslRequest, code == gssRequest:
			if _, err := c.Write([]byte("N")); err != nil {
				return err
			}
			continue
		case code == cancelRequest: // has no answer
			return nil
		}
		_, err = c.Write(errorResponse(message, hint))
		return err
	}
	return errors.New("the client does not come to the startup message")
}

// startup reads a message of the kind that has no type, and returns the code at
// its beginning: a protocol version or a request.
func startup(r io.Reader) (code uint32, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	length := binary.BigEndian.Uint32(head[:4])
	if length < 8 || length > maxStartup {
		return 0, errors.New("the client does not speak PostgreSQL's protocol")
	}
	_, err = io.CopyN(io.Discard, r, int64(length)-8)
	return binary.BigEndian.Uint32(head[4:]), err
}

// errorResponse is PostgreSQL's message of that name, of the class "connection
// exception".
func errorResponse(message, hint string) []byte {
	fields := []string{"SFATAL", "VFATAL", "C08006", "M" + text(message)}
	if hint != "" {
		fields = append(fields, "H"+text(hint))
	}
	body := strings.Join(fields, "\x00") + "\x00\x00"
	msg := binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(body)))
	return append(msg, body...)
}

// mysql sends an ERR packet in place of the greeting. It has no SQL state, since
// the client has not said yet that it knows them.
func mysql(w io.Writer, message string) error {
	const unknownError = 1105 // ER_UNKNOWN_ERROR
	body := binary.LittleEndian.AppendUint16([]byte{0xff}, unknownError)
	body = append(body, text(message)...)
	n := len(body)
	_, err := w.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), 0}, body...))
	return err
}

// text returns s as far as a protocol takes it.
func text(s string) string {
	const most = 2000
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
}
