package sqldata

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// StatusError is the status with which a stream has failed. The service has sent
// it, or gRPC has made it of what has happened to the connection: then the code
// is Unavailable, Internal or Unknown. OutOfRange is a message that was too large
// to be taken.
type StatusError struct {
	Code    codes.Code
	Message string
	// Reason is that of an ErrorInfo in the status, or a reason of the service
	// in its text; "" if there is neither.
	Reason string
	// RetryAfter is how long the service wants to be left alone, 0 if it does
	// not say.
	RetryAfter time.Duration

	status *status.Status
}

func newStatusError(s *status.Status) *StatusError {
	e := &StatusError{Code: s.Code(), Message: answer.OneLine(s.Message(), maxText), status: s}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = cmp.Or(e.Reason, d.GetReason())
		case *errdetails.RetryInfo:
			e.RetryAfter = max(e.RetryAfter, d.GetRetryDelay().AsDuration())
		}
	}
	if _, after, ok := strings.Cut(e.Message, wire.ReasonPrefix); e.Reason == "" && ok {
		word, _, _ := strings.Cut(after, " ")
		e.Reason = wire.ReasonPrefix + strings.TrimRight(word, ".,:;")
	}
	return e
}

// maxText bounds the length of a status's text, which comes from outside.
const maxText = 1000

// streamError is what the error of a stream's method means: io.EOF after an end
// of the database connection like any other.
func streamError(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	s := status.Convert(err)
	if tooLarge(s) {
		s = status.New(codes.OutOfRange, fmt.Sprintf("the service has sent a message of more than %d MiB", maxMessage>>20))
	}
	return ending(s)
}

// tooLarge reports whether gRPC has refused a message for its size. It tells that
// in the text only, with the code of a service that is exhausted.
func tooLarge(s *status.Status) bool {
	return s.Code() == codes.ResourceExhausted && strings.HasPrefix(s.Message(), "grpc: received message larger than max")
}

// terminated is what the end of a session means.
func terminated(s *spb.Status) error { return ending(status.FromProto(s)) }

func ending(s *status.Status) error {
	if e := newStatusError(s); !e.normalEnd() {
		return e
	}
	return io.EOF
}

// tooManyPings reports whether the server has ended the connection because of
// its pings. gRPC tells that in the text only.
func tooManyPings(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.Code == codes.Unavailable && strings.Contains(e.Message, "too_many_pings")
}

// hide returns err without the token: a server can echo what was sent to it.
func hide(token string, err error) error {
	e, ok := err.(*StatusError) //nolint:errorlint // that of a stream is not wrapped
	if !ok || token == "" || !strings.Contains(e.status.Message(), token) {
		return err
	}
	s := e.status.Proto() // a copy
	s.Message = strings.ReplaceAll(s.GetMessage(), token, "[token]")
	return newStatusError(status.FromProto(s))
}

// Error is one line: the code, as gRPC spells it, and the text.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("%v: %s", e.Code, e.Message)
	if e.Reason != "" && !strings.Contains(e.Message, e.Reason) {
		text += " (" + e.Reason + ")"
	}
	return text
}

// GRPCStatus returns the status, for [status.FromError].
func (e *StatusError) GRPCStatus() *status.Status { return e.status }

// Unserved reports whether the instance has to be reached by an address: SQL
// Data does not serve it, or is not allowed for it.
func (e *StatusError) Unserved() bool {
	return e.Code == codes.FailedPrecondition && (e.Reason == wire.UnsupportedType ||
		e.Reason != wire.InvalidAck && (strings.HasPrefix(e.Message, wire.EditionRefusal) || strings.Contains(e.Message, "does not allow connect tunnel")))
}

// normalEnd reports whether the status is the end of the database connection,
// like any other.
func (e *StatusError) normalEnd() bool {
	return e.Code == codes.OK || e.Code == codes.Canceled && (e.Reason == wire.ClientClosed || e.Reason == wire.ServerClosed)
}
