package cloudsqlconn

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// What errors.Is finds in the errors of a Dialer, besides context errors, net
// errors and the [*APIError] of a refused API call.
var (
	// ErrDialerClosed is returned by all methods of a closed Dialer.
	ErrDialerClosed = errors.New("dialer is closed")
	// ErrBadName marks a name that is not an instance connection name.
	ErrBadName = errors.New("bad instance name")
	// ErrNotFound marks an instance, or a project, that does not exist, and a
	// DNS name that names no instance.
	ErrNotFound = errors.New("instance not found")
	// ErrPermission marks a call that the Admin API refused, or credentials
	// that cannot be used.
	ErrPermission = errors.New("not permitted")
	// ErrNoAddress marks an instance without an address of the wanted types.
	ErrNoAddress = errors.New("no such address")
	// ErrUnverified marks a server that could not prove to be the instance.
	ErrUnverified = errors.New("server not verified")
	// ErrConfig marks options that are wrong, contradict each other, or do not
	// fit the instance.
	ErrConfig = errors.New("bad configuration")
)

// The steps that [Error].Op names.
const (
	OpConfig    = "configure" // options, or a data source name
	OpResolve   = "resolve"   // the name, to an instance
	OpRefresh   = "refresh"   // the Admin API: metadata and client certificate
	OpDial      = "dial"      // TCP
	OpHandshake = "handshake" // TLS, up to the server's first byte
	OpStream    = "stream"    // SQL Data, in place of the two before
	OpLogin     = "login"     // the database; of the packages under driver/ alone
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

// causeError is a cause that errors.Is also finds under a sentinel. Its text
// is the cause's alone.
type causeError struct {
	sentinel error
	error
}

func (e *causeError) Is(target error) bool { return target == e.sentinel }
func (e *causeError) Unwrap() error        { return e.error }

// oneLine is like errors.Join, in one line.
type oneLine []error

func (e oneLine) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e oneLine) Unwrap() []error { return e }

// What an attempt does, in this order.
const (
	stepTCP = "TCP"
	stepTLS = "TLS handshake"
)

// attempt is the error of a try to reach the instance at one address.
type attempt struct {
	nth         int    // of the addresses, in their order
	kind        string // of address, or the DNS name that it belongs to
	addr        string // host and port
	step        string // that failed
	took        time.Duration
	clockOffset time.Duration // see admin.Info
	cut         bool          // to leave time for other addresses
	silent      bool          // no answer has come
	err         error
}

// newAttempt is a try that failed at that step.
func newAttempt(t reach.Try, step string, info *admin.Info, n Name) *attempt {
	return &attempt{
		nth: t.Nth, kind: kindOf(t.Host, info, n), addr: net.JoinHostPort(t.Host, serverPort), step: step,
		took: t.Took, clockOffset: info.ClockOffset, cut: t.Cut, silent: t.Silent, err: t.Err,
	}
}

// Error is one line with all that it takes to try the same by hand.
func (a *attempt) Error() string {
	cut := ""
	if a.cut {
		cut = ", to leave time for other addresses"
	}
	return fmt.Sprintf("%s %s: %v (%s, after %v%s)", a.kind, a.addr, a.err, a.step, a.took.Round(time.Millisecond), cut)
}

// Unwrap returns the cause. That of an attempt that was cut is the end of its
// share of the time, which errors.Is must not take for the end of the caller's.
func (a *attempt) Unwrap() error {
	if a.cut {
		return reach.ErrShareUsed
	}
	return a.err
}

// unreachable is the error of the attempts at all addresses.
type unreachable struct {
	attempts []*attempt
	others   []IPType // of address that the instance has and that were not wanted
}

func (e *unreachable) Error() string { return oneLine(e.Unwrap()).Error() }

func (e *unreachable) Unwrap() []error {
	errs := make([]error, len(e.attempts))
	for i, a := range e.attempts {
		errs[i] = a
	}
	return errs
}

// silent reports whether an address has given no answer.
func (e *unreachable) silent() bool {
	return slices.ContainsFunc(e.attempts, func(a *attempt) bool { return a.silent })
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
		return &causeError{ErrBadName, err}
	case errors.As(err, &lookup) && !lookup.Temporary():
		return &causeError{ErrNotFound, err}
	case errors.As(err, &unverified):
		return &causeError{ErrUnverified, err}
	case errors.As(err, &config), errors.As(err, &misfit):
		return &causeError{ErrConfig, err}
	case errors.As(err, &way):
		if sentinel := way.sentinel(); sentinel != nil {
			return &causeError{sentinel, err}
		}
		return err
	case errors.As(err, &token) && admin.Terminal(err):
		return &causeError{ErrPermission, err}
	case admin.Quota(err), admin.Stranger(err):
		return err
	case errors.As(err, &api) && api.Code == http.StatusNotFound:
		return &causeError{ErrNotFound, err}
	case errors.As(err, &api) && (api.Code == http.StatusForbidden || api.Code == http.StatusUnauthorized):
		return &causeError{ErrPermission, err}
	}
	return err
}

// newError returns the error of a step, with the hint that belongs to it.
func (d *Dialer) newError(op, instance string, err error) *Error {
	err = classify(err)
	return &Error{Op: op, Instance: instance, Err: err, Hint: d.cfg.subject(instance).hint(op, err)}
}
