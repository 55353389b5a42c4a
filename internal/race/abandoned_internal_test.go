package race

import (
	"context"
	"errors"
	"testing"
	"time"
)

// On a busy machine, the caller's context can have ended for a while before those
// made from it have.
func TestATryThatIsAbandonedHasAnError(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the caller is gone")
	cancel(gone)
	r := &Race{ctx: ended, racing: t.Context(), hosts: []string{"192.0.2.1"}, running: []runner{{0, time.Now()}}}
	if try := r.abandoned(); !errors.Is(try.Err, gone) || try.Conn != nil {
		t.Errorf("got %+v", try)
	}
}
