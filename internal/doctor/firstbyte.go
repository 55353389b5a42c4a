package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// greeting waits for a database's first bytes and says what they are. It may
// send something before, but never a login.
type greeting func(io.ReadWriter) (found string, err error)

var greetings = map[engine.Engine]greeting{engine.Postgres: greetPostgres, engine.MySQL: greetMySQL, engine.SQLServer: greetSQLServer}

// firstBytes returns how to make a database speak. It is nil for an engine
// that nothing is known of.
func firstBytes(databaseVersion string) greeting { return greetings[engine.Of(databaseVersion)] }

// hear greets the database over conn, which closer closes when ctx ends. Before
// its first byte comes the answer to the client certificate, if that is refused.
func hear(ctx context.Context, conn io.ReadWriter, closer io.Closer, greet greeting) (string, error) {
	// Not by a deadline: not every connection takes one.
	stop := context.AfterFunc(ctx, func() { _ = closer.Close() })
	found, err := greet(conn)
	switch {
	case err == nil:
		stop()
		return found, nil
	case !stop():
		return "", errors.New("no answer from the database")
	case failure.IsAlert(err):
		return "", &reach.RefusedError{Err: err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "", fmt.Errorf("the connection was ended before the database answered: %w", err)
	}
	return "", err
}

// greetPostgres sends an SSLRequest, which PostgreSQL answers with one byte.
// Source: its documentation, "Message Formats".
func greetPostgres(rw io.ReadWriter) (string, error) {
	if _, err := rw.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return "", err
	}
	var b [1]byte
	if _, err := io.ReadFull(rw, b[:]); err != nil {
		return "", err
	}
	switch b[0] {
	case 'N', 'S':
		return "PostgreSQL answers", nil
	case 'E':
		return "", errors.New("PostgreSQL answers with an error")
	}
	return "", fmt.Errorf("what answers is not PostgreSQL: its first byte is %q", b[0])
}

// greetMySQL waits for the handshake packet that MySQL begins with: 3 bytes of
// length, the number 0, and the protocol version 10; or an error packet.
// Source: MySQL's internals manual, "Connection Phase".
func greetMySQL(rw io.ReadWriter) (string, error) {
	var head [5]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return "", err
	}
	const mostText = 512
	text := make([]byte, min(max(int(head[0])|int(head[1])<<8|int(head[2])<<16, 1)-1, mostText))
	switch {
	case head[3] != 0 || head[4] != 10 && head[4] != 0xff:
		return "", fmt.Errorf("what answers is not MySQL: it begins with %q", head)
	default:
		if _, err := io.ReadFull(rw, text); err != nil {
			return "", err
		}
	}
	if head[4] == 10 {
		version, _, _ := strings.Cut(string(text), "\x00")
		return "MySQL " + version + " sends its greeting (only a login would show whether it is full)", nil
	}
	refusal := &mysqlRefusal{text: string(text[min(2, len(text)):])}
	if len(text) >= 2 {
		refusal.code = binary.LittleEndian.Uint16(text)
	}
	return "", refusal
}

// mysqlRefusal is an error packet in place of MySQL's greeting.
type mysqlRefusal struct {
	code uint16
	text string
}

func (e *mysqlRefusal) Error() string { return fmt.Sprintf("MySQL refuses: %.300q", e.text) }

// mysqlHint says what to do about a refusal of MySQL; "" if err is none. The
// numbers are from its reference, "Server Error Message Reference".
func mysqlHint(err error) string {
	refusal, ok := errors.AsType[*mysqlRefusal](err)
	if !ok {
		return ""
	}
	switch refusal.code {
	case 1040, 1203: // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS
		return "The database answers, but is at its limit of connections: close some (`SHOW PROCESSLIST` lists them), make the programs' pools smaller, or raise the instance's flag max_connections."
	case 1129: // ER_HOST_IS_BLOCKED
		return "The database answers, but has blocked this host, since too many of its connections ended before a login: `TRUNCATE TABLE performance_schema.host_cache` or a restart lets it in again; look for what connects without logging in, such as a health check, and at the flag max_connect_errors."
	case 1130: // ER_HOST_NOT_PRIVILEGED
		return "The database answers, but has no user that may come from this host: look at the hosts of its users, for example with `SELECT user, host FROM mysql.user`."
	}
	return "The database answers, but refuses every connection for the time being: see its message and its log."
}

// greetSQLServer sends a PRELOGIN message, which SQL Server answers with a
// packet of the type 4. Source: [MS-TDS] 2.2.3.1 and 2.2.6.5.
func greetSQLServer(rw io.ReadWriter) (string, error) {
	const prelogin, response = 0x12, 0x04
	message := []byte{
		prelogin, 1, 0, 0, 0, 0, 1, 0, // header: type, last packet, length, SPID, number, window
		0, 0, 11, 0, 6, // VERSION: 6 bytes at 11
		1, 0, 17, 0, 1, // ENCRYPTION: 1 byte at 17
		0xff,
		0, 0, 0, 0, 0, 0,
		2, // not supported
	}
	binary.BigEndian.PutUint16(message[2:], uint16(len(message)))
	if _, err := rw.Write(message); err != nil {
		return "", err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return "", err
	}
	if head[0] != response {
		return "", fmt.Errorf("what answers is not SQL Server: its packet has the type %#02x", head[0])
	}
	return "SQL Server answers", nil
}
