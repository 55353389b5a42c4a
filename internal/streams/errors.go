package streams

import (
	"errors"
	"fmt"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hint"
	"github.com/cloudsqlconn/cloudsqlconn/internal/kind"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"google.golang.org/grpc/codes"
)

var (
	_ hint.Hinter  = (*Error)(nil)
	_ kind.Told    = (*Error)(nil)
	_ kind.Cooling = (*CoolingError)(nil)
)

// Sentinel is what errors.Is is to find, nil for nothing.
func (e *Error) Sentinel() error {
	s := e.StatusError
	switch {
	case s.Code == codes.PermissionDenied, s.Code == codes.Unauthenticated:
		return failure.ErrPermission
	case s.Code == codes.NotFound:
		return failure.ErrNotFound
	case s.Code == codes.InvalidArgument, s.Code == codes.Unimplemented, s.Unserved():
		return failure.ErrConfig
	}
	return nil
}

// Error is the status with which a stream has failed, and what its hint tells. Its
// text is the status's, which has the cause in it.
type Error struct {
	*sqldata.StatusError
	Cause        error  // why no connection could be opened; nil: that is not why
	Principal    string // e-mail address of who called, or ""
	QuotaProject string // that the call named, or ""
}

// Unwrap returns the status, and the cause if there is one.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.StatusError}
	}
	return []error{e.StatusError, e.Cause}
}

// Hint says what to do about it. whole is the error that it is a part of.
func (e *Error) Hint(s hint.Subject, whole error) string {
	f := hint.Stream{Status: e.StatusError, Principal: e.Principal, QuotaProject: e.QuotaProject}
	if cooling, ok := errors.AsType[*CoolingError](whole); ok {
		f.Left = cooling.Left
	}
	return f.Hint(s, whole)
}

// CoolingError says that SQL Data has refused, and is left alone for a while.
type CoolingError struct {
	Left time.Duration
	Err  error // the refusal
}

func (e *CoolingError) Error() string {
	return fmt.Sprintf("%v; it will not be asked for another %v", e.Err, max(0, e.Left.Round(100*time.Millisecond)))
}

// Unwrap returns the refusal.
func (e *CoolingError) Unwrap() error { return e.Err }

// LeftAlone is how long the service is left alone.
func (e *CoolingError) LeftAlone() time.Duration { return e.Left }
