package pgtunnel

import (
	"errors"
	"net"
)

// told is the error of a Dial, for pgx. In place of an error with a timeout in it
// pgx tells the context's alone, so that the cause and the hint would be lost:
// this one does not show that there is one.
type told struct{ err error }

func (e told) Error() string { return e.err.Error() }

// Is finds what is in the error.
func (e told) Is(target error) bool { return errors.Is(e.err, target) }

// As finds everything but timeouts.
func (e told) As(target any) bool {
	if _, ok := target.(*net.Error); ok {
		return false
	}
	return errors.As(e.err, target)
}
