package cloudsqlconn

import (
	"errors"
	"fmt"

	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/kind"
)

// What errors.Is finds in the errors of a Dialer, besides context errors, net
// errors and the [*APIError] of a refused API call.
var (
	// ErrDialerClosed is returned by all methods of a closed Dialer.
	ErrDialerClosed = failure.ErrDialerClosed
	// ErrBadName marks a name that is not an instance connection name.
	ErrBadName = failure.ErrBadName
	// ErrNotFound marks an instance, or a project, that does not exist, and a
	// DNS name that names no instance.
	ErrNotFound = failure.ErrNotFound
	// ErrPermission marks a call that the Admin API refused, or credentials
	// that cannot be used.
	ErrPermission = failure.ErrPermission
	// ErrNoAddress marks an instance without an address of the wanted types.
	ErrNoAddress = failure.ErrNoAddress
	// ErrUnverified marks a server that could not prove to be the instance.
	ErrUnverified = failure.ErrUnverified
	// ErrConfig marks options that are wrong, contradict each other, or do not
	// fit the instance.
	ErrConfig = failure.ErrConfig
)

// The steps that [Error].Op names.
const (
	OpConfig    = failure.OpConfig    // "configure": options, or a data source name
	OpResolve   = failure.OpResolve   // "resolve": the name, to an instance
	OpRefresh   = failure.OpRefresh   // "refresh": the Admin API: metadata and client certificate
	OpDial      = failure.OpDial      // "dial": TCP
	OpHandshake = failure.OpHandshake // "handshake": TLS, up to the server's first byte
	OpStream    = failure.OpStream    // "stream": SQL Data, in place of the two before
	OpLogin     = failure.OpLogin     // "login": the database; of the packages under driver/ alone
)

// APIError is in the error of a call that the Admin API, or the IAM Credentials
// API, has refused: errors.As finds it. Code is the HTTP status, Message what the
// API says, Errors and Details its reasons in the older and in the newer of the
// forms that Google's APIs have, and Header and Body the answer as received. It
// is not to be modified.
type APIError = googleapi.Error

// Error is the error of every failed step.
type Error struct {
	// Op is the step that failed, one of the constants OpConfig to OpLogin. Errors
	// of Read and Write on connections of SQL Data have OpStream.
	Op string
	// Instance is the name that was dialled, or "".
	Instance string
	// Hint is a sentence or two that say what to do, with a command where there
	// is one, or "". It is not part of the error's text.
	Hint string
	// Err is the cause.
	Err error
}

// Error returns one line: the step, the instance, the cause.
func (e *Error) Error() string {
	if e.Instance == "" {
		return fmt.Sprintf("cloudsqlconn: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("cloudsqlconn: %s %s: %v", e.Op, e.Instance, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to do about err, a sentence of the [*Error] in it, or "".
func Hint(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}

// newError returns the error of a step, with the hint that belongs to it.
func (d *Dialer) newError(op, instance string, err error) *Error {
	err = kind.Classify(err)
	return &Error{Op: op, Instance: instance, Err: err, Hint: d.cfg.subject(instance).Hint(op, err)}
}

// subject is what a hint about an instance may name.
func (c *config) subject(instance string) hint.Subject {
	s := hint.Subject{Project: "PROJECT", Instance: "INSTANCE", API: c.apiEndpoint(), Stream: c.serviceEndpoint()}
	if n, err := ParseName(instance); err == nil {
		s.Project, s.Instance = n.project, n.instance
	}
	return s
}
