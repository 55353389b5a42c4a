package refresh

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

func TestFailureTells(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		f    Failure
		want string
	}{
		{
			Failure{Ctx: context.DeadlineExceeded},
			"context deadline exceeded while waiting for an answer",
		}, {
			Failure{Err: io.ErrUnexpectedEOF, Attempts: 1, Age: 400 * time.Microsecond},
			"unexpected EOF",
		}, {
			Failure{Err: io.ErrUnexpectedEOF, Attempts: 1, Age: 2500*time.Millisecond + 7},
			"unexpected EOF (1 attempt, the last 2.5s ago)",
		}, {
			Failure{Err: io.ErrUnexpectedEOF, Attempts: 3},
			"unexpected EOF (3 attempts, the last 0s ago)",
		}, {
			Failure{Err: io.ErrUnexpectedEOF, Ctx: context.Canceled, Attempts: 1},
			"context canceled while waiting for another attempt; last error: unexpected EOF",
		}, {
			Failure{Err: io.ErrUnexpectedEOF, Ctx: context.Canceled, Attempts: 2, Age: 90 * time.Second},
			"context canceled while waiting for another attempt; last error (2 attempts, the last 1m30s ago): unexpected EOF",
		},
	} {
		if got := tt.f.Error(); got != tt.want {
			t.Errorf("%#v:\ngot  %s\nwant %s", tt.f, got, tt.want)
		}
	}
}

func TestFailureUnwrapsToBothErrors(t *testing.T) {
	t.Parallel()
	err := error(&Failure{Err: io.ErrUnexpectedEOF, Ctx: context.Canceled})
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not unwrap to both", err)
	}
	if errs := (&Failure{Err: io.ErrUnexpectedEOF}).Unwrap(); len(errs) != 1 {
		t.Errorf("without Ctx: unwraps to %v", errs)
	}
	if errs := (&Failure{Ctx: context.Canceled}).Unwrap(); len(errs) != 1 {
		t.Errorf("without Err: unwraps to %v", errs)
	}
}
