// Package pglogin watches logins to PostgreSQL, and has those by IAM repeated. It does not
// know how connections are made.
package pglogin

import (
	"encoding/binary"
	"io"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// What logins are refused with.
const (
	InvalidPassword      = "28P01"
	InvalidAuthorization = "28000" // such as a user who does not exist, or whom IAM does not let in
	NoDatabase           = "3D000"
	ProtocolViolation    = "08P01" // by poolers
)

// NewReader returns a reader of what a server says, from its first byte. It calls
// passed when the login has. If the server refuses it, the error that refused makes of
// that comes in place of the answer, unless refused is nil.
func NewReader(r io.Reader, passed func(), refused func(*pgconn.PgError) error) io.Reader {
	return &reader{r: r, passed: passed, refused: refused}
}

// reader is what NewReader returns.
type reader struct {
	r       io.Reader
	refused func(*pgconn.PgError) error // nil: the answer is passed on
	passed  func()                      // is called when the login has passed
	ahead   []byte                      // has been read, and not yet passed on
	over    bool                        // the login
	err     error                       // comes after ahead
}

func (l *reader) Read(b []byte) (int, error) {
	if len(l.ahead) == 0 && !l.over {
		l.message()
	}
	if len(l.ahead) > 0 {
		n := copy(b, l.ahead)
		l.ahead = l.ahead[n:]
		return n, nil
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.r.Read(b)
}

// message reads a message of the server's: a letter, a length, and the rest. What
// is none is passed on as it is.
func (l *reader) message() {
	const (
		headSize = 5
		most     = 1 << 16 // is more than a message of a login has
	)
	if !l.read(headSize) {
		return
	}
	kind, size := l.ahead[0], binary.BigEndian.Uint32(l.ahead[1:])
	if size < 4 || size > most {
		l.over = true
		return
	}
	if !l.read(int(size) - 4) {
		return
	}
	const readyForQuery, failed = 'Z', 'E'
	switch kind {
	case readyForQuery:
		l.over = true
		l.passed()
	case failed:
		l.over = true
		l.judge(l.ahead[headSize:])
	}
}

// read reads n bytes more, unless the login ends before that.
func (l *reader) read(n int) bool {
	more := make([]byte, n)
	n, l.err = io.ReadFull(l.r, more)
	if l.err == io.ErrUnexpectedEOF {
		l.err = io.EOF // as it came
	}
	l.ahead = append(l.ahead, more[:n]...)
	l.over = l.err != nil
	return !l.over
}

// judge looks at the answer to a login that has failed.
func (l *reader) judge(body []byte) {
	var answer pgproto3.ErrorResponse
	if l.refused == nil || answer.Decode(body) != nil {
		return
	}
	if refused := pgconn.ErrorResponseToPgError(&answer); slices.Contains([]string{InvalidPassword, InvalidAuthorization, NoDatabase, ProtocolViolation}, refused.Code) {
		l.ahead, l.err = nil, l.refused(refused)
	}
}
