package foreign_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/foreign"
)

var errOwn = errors.New("its own")

// A function that does not look at its context is left behind; the error of one
// that does says more than the context's.
func TestCallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		f    func(ctx context.Context) error
		want error
		took time.Duration
	}{
		"in time":  {func(context.Context) error { return errOwn }, errOwn, 0},
		"looks":    {func(ctx context.Context) error { <-ctx.Done(); return errOwn }, errOwn, time.Second},
		"is deaf":  {func(context.Context) error { time.Sleep(time.Hour); return errOwn }, context.DeadlineExceeded, time.Second + 5*time.Millisecond},
		"succeeds": {func(context.Context) error { return nil }, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				got, err := foreign.Call(ctx, func() (int, error) { return 1, tt.f(ctx) })
				if d := time.Since(began); d != tt.took || !errors.Is(err, tt.want) || err == nil && got != 1 {
					t.Errorf("%d, %v after %v; want %v after %v", got, err, d, tt.want, tt.took)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}
