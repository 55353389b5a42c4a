package reach

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/race"
)

// What a try does, in this order.
const (
	StepTCP = "TCP"
	StepTLS = "TLS handshake"
)

// AddrError is the error of a try to reach the instance at one address.
type AddrError struct {
	Kind        string        // of address, or the DNS name that it belongs to
	Addr        string        // host and port
	Step        string        // that failed
	ClockOffset time.Duration // see admin.Info
	Cut         bool          // to leave time for other addresses
	Silent      bool          // no answer has come
	Err         error

	nth  int // of the addresses, in their order
	took time.Duration
}

// newAddrError is the error of a try that failed at that step.
func newAddrError(t race.Try, step string, info *admin.Info, domain string) *AddrError {
	return &AddrError{
		Kind: cmp.Or(TypeOf(t.Host, info), domain), Addr: net.JoinHostPort(t.Host, Port), Step: step,
		ClockOffset: info.ClockOffset, Cut: t.Cut, Silent: t.Silent, Err: t.Err,
		nth: t.Nth, took: t.Took,
	}
}

// Error is one line with all that it takes to try the same by hand.
func (e *AddrError) Error() string {
	cut := ""
	if e.Cut {
		cut = ", to leave time for other addresses"
	}
	return fmt.Sprintf("%s %s: %v (%s, after %v%s)", e.Kind, e.Addr, e.Err, e.Step, e.took.Round(time.Millisecond), cut)
}

// Unwrap returns the cause. That of a try that was cut is the end of its
// share of the time, which errors.Is must not take for the end of the caller's.
func (e *AddrError) Unwrap() error {
	if e.Cut {
		return race.ErrShareUsed
	}
	return e.Err
}

// Error is the error of the tries at all addresses.
type Error struct {
	Addrs  []*AddrError
	Others []string // types of address that the instance has and that were not wanted
}

func (e *Error) Error() string { return failure.Lines(e.Unwrap()).Error() }

// Unwrap returns the errors of the addresses.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Addrs))
	for i, a := range e.Addrs {
		errs[i] = a
	}
	return errs
}

// Silent reports whether an address has given no answer.
func (e *Error) Silent() bool {
	return slices.ContainsFunc(e.Addrs, func(a *AddrError) bool { return a.Silent })
}

// Connected reports whether a TCP connection could be opened.
func (e *Error) Connected() bool {
	return slices.ContainsFunc(e.Addrs, func(a *AddrError) bool { return a.Step == StepTLS })
}

// RefusedError is the server's refusal of the client certificate. With TLS 1.3 the
// client's handshake is over before the server has looked at that, so that it comes
// later, when the first byte of the database would.
type RefusedError struct {
	ClockOffset time.Duration // see admin.Info
	Err         error         // a TLS alert
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the server refuses the client certificate: %v", e.Err)
}

// Unwrap returns the alert.
func (e *RefusedError) Unwrap() error { return e.Err }

// NoAddressError says that the instance has no address of the wanted types.
type NoAddressError struct{ Wanted, Has []string }

// NoAddress returns that error, under [failure.ErrNoAddress].
func NoAddress(info *admin.Info, types []string) error {
	has := OtherTypes(info, types)
	slices.Sort(has)
	return failure.Mark(failure.ErrNoAddress, &NoAddressError{Wanted: types, Has: has})
}

func (e *NoAddressError) Error() string {
	if len(e.Has) == 0 {
		return fmt.Sprintf("the instance has no address of the types %v", e.Wanted)
	}
	return fmt.Sprintf("the instance has no address of the types %v; it has %v", e.Wanted, e.Has)
}
