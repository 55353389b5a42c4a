package cloudsqlconn

import (
	"errors"
	"fmt"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/kind"
)

// What errors.Is finds in the errors of a Dialer. Besides these it finds the error of
// the context that has ended, [net.ErrClosed] in those of a connection that is
// closed, and driver.ErrBadConn in those of one of which database/sql can be sure
// that nothing was done with it. Others can be in a chain too, of the operating
// system, of package net, of gRPC, of Google's APIs: which they are can change at any
// time. [Error.Code] and [Error.Reason] are what to branch on instead.
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

// Code is the kind of the error, one of few, which telemetry has as error.type. More
// can be added. It is one of
//
//   - bad_name, not_found, permission, no_address, unverified, config and
//     dialer_closed, named after the errors of this package
//   - token: no access token could be obtained; quota: one is used up
//   - http_409 and the like: the Admin API's answer, if none of the above fits;
//     not_the_api: something else has answered in its place, whatever the status;
//     rpc_unavailable and the like: the status of SQL Data
//   - dns, connection_refused, connection_reset, tls, proxy: with the instance, or
//     with a service
//   - deadline_exceeded: there was no answer in time, and nothing else is known;
//     canceled: the caller has given up
//   - _OTHER, such as a login that the database has refused
func (e *Error) Code() string { return kind.Type(e) }

// Reason is Google's own reason in the answer of the Admin API, of the IAM Credentials
// API or of SQL Data, such as SERVICE_DISABLED or notAuthorized; "" if there was no
// answer, or no reason in it. Google documents those of google.api.ErrorReason, and can
// add others.
func (e *Error) Reason() string { return kind.Reason(e) }

// RetryAfter is how long the service that has refused, one of Google's, has asked to
// be left alone, counted from when the error was returned; 0 if it did not say. The
// Dialer does so, whatever the caller does.
func (e *Error) RetryAfter() time.Duration { return kind.RetryAfter(e, time.Now()) }

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
	s := hint.Subject{Project: "PROJECT", Instance: "INSTANCE", API: c.caller.APIAddr(), Stream: c.serviceEndpoint(), Emulated: c.caller.Emulated()}
	if n, err := ParseName(instance); err == nil {
		s.Project, s.Instance = n.project, n.instance
	}
	return s
}
