package kind

import (
	"errors"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// Cooling is an error of a service that is left alone, since it has refused.
type Cooling interface {
	error
	LeftAlone() time.Duration // from now on
}

// RetryAfter is how long the service that err is about has asked to be left alone,
// from now on; 0 if it has not.
func RetryAfter(err error, now time.Time) time.Duration {
	if s, ok := errors.AsType[*sqldata.StatusError](err); ok {
		var pause Cooling
		if s.RetryAfter > 0 && errors.As(err, &pause) {
			return max(0, pause.LeftAlone())
		}
		return s.RetryAfter
	}
	var age time.Duration // of what is remembered
	if failure, ok := errors.AsType[*refresh.Failure](err); ok {
		age = failure.Age
	}
	return max(0, admin.AskedFor(err, now.Add(-age))-age)
}
