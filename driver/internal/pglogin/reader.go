// Package pglogin watches logins to PostgreSQL.
package pglogin

import (
	"io"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// NewReader returns a reader of what a server says, from its first byte. It sets
// passed when the login has. If the server refuses it, the error that refused
// makes of that [*pgconn.PgError] comes in place of the answer, unless refused is
// nil.
func NewReader(r io.Reader, passed *atomic.Bool, refused func(error) error) io.Reader {
	return &reader{r: r, passed: passed, refused: refused}
}

// reader is what NewReader returns.
type reader struct {
	r       io.Reader
	refused func(error) error // nil: the answer is passed on
	ahead   []byte            // has been read, and not yet passed on
	over    bool              // the login
	passed  *atomic.Bool      // set when it has passed
}

func (l *reader) Read(b []byte) (int, error) {
	if len(l.ahead) == 0 && !l.over {
		if err := l.message(); err != nil {
			return 0, err
		}
	}
	if len(l.ahead) > 0 {
		n := copy(b, l.ahead)
		l.ahead = l.ahead[n:]
		return n, nil
	}
	return l.r.Read(b)
}

// message reads a message of the server's: a letter, a length, and the rest. What
// is none is passed on as it is.
func (l *reader) message() error {
	const most = 1 << 16 // is more than a message of a login has
	header := make([]byte, 5)
	n, err := io.ReadFull(l.r, header)
	if n == 0 {
		return err
	}
	l.ahead = header[:n]
	size := int64(header[1])<<24 | int64(header[2])<<16 | int64(header[3])<<8 | int64(header[4])
	if err != nil || size < 4 || size > most {
		l.over = true
		return nil
	}
	body := make([]byte, size-4)
	n, err = io.ReadFull(l.r, body)
	l.ahead = append(l.ahead, body[:n]...)
	const readyForQuery, failed = 'Z', 'E'
	l.over = err != nil || header[0] == readyForQuery || header[0] == failed
	l.passed.Store(err == nil && header[0] == readyForQuery)
	if err != nil || header[0] != failed || l.refused == nil {
		return nil
	}
	var answer pgproto3.ErrorResponse
	if answer.Decode(body) != nil {
		return nil
	}
	const invalidPassword, invalidAuthorization = "28P01", "28000"
	if refused := pgconn.ErrorResponseToPgError(&answer); refused.Code == invalidPassword || refused.Code == invalidAuthorization {
		return l.refused(refused)
	}
	return nil
}
