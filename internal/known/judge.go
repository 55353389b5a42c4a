package known

import (
	"context"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// startPause bounds the pauses between looks whether an instance that is not
// ready has started, for a Dial that waits for it: with what is added to spread
// them, it is found within 5 s.
const startPause = 4 * time.Second

// Judge says what a failure of the Admin API means for the next call.
func Judge(err error) refresh.Verdict {
	v := refresh.Verdict{Terminal: admin.Terminal(err), RetryAfter: admin.RetryAfter(err, time.Now())}
	if admin.NotReady(err) {
		v.MaxPause = startPause
	}
	return v
}

// Traced returns the context of a fetch, which tells its cache what the Admin
// API's client tells.
func Traced(ctx context.Context) context.Context {
	return admin.WithTrace(ctx, admin.Trace{
		Failed: func(err error) { refresh.Tried(ctx, err) },
		Hedged: func() { refresh.Note(ctx) },
	})
}
