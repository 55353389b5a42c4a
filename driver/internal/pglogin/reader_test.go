package pglogin_test

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/pglogin"
)

// says is what a server says.
func says(messages ...pgproto3.BackendMessage) (b []byte) {
	for _, m := range messages {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic(err)
		}
	}
	return b
}

var (
	welcome = says(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	refusal = &pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "no"}
)

func TestARefusalIsAnErrorUntilTheLoginHasPassed(t *testing.T) {
	t.Parallel()
	told := errors.New("told")
	for name, tt := range map[string]struct {
		said    []byte
		refused bool
		passed  bool
	}{
		"at once":                {says(refusal), true, false},
		"after a question":       {append(says(&pgproto3.AuthenticationCleartextPassword{}), says(refusal)...), true, false},
		"of another kind":        {says(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "53300", Message: "full"}), false, false},
		"after the login":        {append(bytes.Clone(welcome), says(refusal)...), false, true},
		"after an error of old":  {append(says(&pgproto3.ErrorResponse{Code: "0A000"}), says(refusal)...), false, false},
		"no login":               {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false, false},
		"an impossible length":   {[]byte{'E', 0, 0, 0, 3, 1, 2}, false, false},
		"a message without end":  {welcome[:11], false, false},
		"a header without a end": {welcome[:3], false, false},
	} {
		for way, r := range map[string]io.Reader{"at once": bytes.NewReader(tt.said), "bytewise": iotest.OneByteReader(bytes.NewReader(tt.said))} {
			t.Run(name+" "+way, func(t *testing.T) {
				var passed atomic.Bool
				got, err := io.ReadAll(pglogin.NewReader(r, func() { passed.Store(true) }, func(answer *pgconn.PgError) error {
					if answer.Code != "28P01" {
						t.Errorf("refused with %v", answer)
					}
					return told
				}))
				if errors.Is(err, told) != tt.refused || !tt.refused && (err != nil || !bytes.Equal(got, tt.said)) {
					t.Errorf("got %q, %v", got, err)
				}
				if passed.Load() != tt.passed {
					t.Errorf("passed: %v", passed.Load())
				}
			})
		}
	}
}

// Without anybody to tell, all that comes is passed on.
func FuzzReader(f *testing.F) {
	f.Add(welcome)
	f.Add(says(refusal))
	f.Add([]byte("E\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, said []byte) {
		var passed atomic.Bool
		got, err := io.ReadAll(pglogin.NewReader(iotest.HalfReader(bytes.NewReader(said)), func() { passed.Store(true) }, nil))
		if err != nil || !bytes.Equal(got, said) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
