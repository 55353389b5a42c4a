package cloudsqlconn

import (
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/api/googleapi"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// What errors.Is finds in the errors of a Dialer, besides context errors, net
// errors and the *googleapi.Error of a refused API call.
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

// Hint returns what to do about err, a sentence of the [*Error] in it, or "".
func Hint(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}

// wayError is an error of a [way], which says itself what it means.
type wayError interface {
	error
	sentinel() error // nil: none
	exhausted() bool // a quota is used up
	hint(s subject, whole error) string
}

// classify returns err under the sentinel that fits it.
func classify(err error) error {
	var (
		api        *googleapi.Error
		config     *admin.ConfigError
		misfit     *auth.ConfigError
		token      *admin.TokenError
		unverified *tlsverify.Error
		badDomain  *resolve.NameError
		lookup     *resolve.LookupError
		way        wayError
	)
	switch {
	case errors.As(err, &badDomain):
		return failure.Mark(ErrBadName, err)
	case errors.As(err, &lookup) && !lookup.Temporary():
		return failure.Mark(ErrNotFound, err)
	case errors.As(err, &unverified):
		return failure.Mark(ErrUnverified, err)
	case errors.As(err, &config), errors.As(err, &misfit):
		return failure.Mark(ErrConfig, err)
	case errors.As(err, &way):
		if sentinel := way.sentinel(); sentinel != nil {
			return failure.Mark(sentinel, err)
		}
		return err
	case errors.As(err, &token) && admin.Terminal(err):
		return failure.Mark(ErrPermission, err)
	case admin.Quota(err), admin.Stranger(err):
		return err
	case errors.As(err, &api) && api.Code == http.StatusNotFound:
		return failure.Mark(ErrNotFound, err)
	case errors.As(err, &api) && (api.Code == http.StatusForbidden || api.Code == http.StatusUnauthorized):
		return failure.Mark(ErrPermission, err)
	}
	return err
}

// newError returns the error of a step, with the hint that belongs to it.
func (d *Dialer) newError(op, instance string, err error) *Error {
	err = classify(err)
	return &Error{Op: op, Instance: instance, Err: err, Hint: d.cfg.subject(instance).hint(op, err)}
}
