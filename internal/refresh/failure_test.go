package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// Callers whose time ended while a fetch tried again were told nothing of what
// it had met: issue 13, point 7.
func TestACallerWhoStopsWaitingIsToldTheLastErrorOfTheTries(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		first, second := errors.New("first try"), errors.New("second try")
		c := New(w.c.policy, func(ctx context.Context) (*int, time.Time, error) {
			time.Sleep(time.Second)
			Tried(ctx, first)
			time.Sleep(time.Second)
			Tried(ctx, second)
			Note(ctx)
			<-ctx.Done()
			return nil, time.Time{}, errDenied
		})
		defer c.Close()
		for _, tt := range []struct {
			time time.Duration
			err  error // nil: nothing is known
			age  time.Duration
		}{
			{900 * time.Millisecond, nil, 0},
			{600 * time.Millisecond, first, 500 * time.Millisecond},
			{time.Second, second, 500 * time.Millisecond},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), tt.time)
			_, err := c.Get(ctx)
			cancel()
			f, ok := errors.AsType[*Failure](err)
			if !ok || f.Err != tt.err || !errors.Is(f.Ctx, context.DeadlineExceeded) || f.Trying != (tt.err != nil) || f.Age != tt.age {
				t.Errorf("after %v more: %+v", tt.time, err)
			}
			if tt.err != nil && f.Attempts != 1 {
				t.Errorf("%d attempts, want the one under way", f.Attempts)
			}
		}
		time.Sleep(time.Hour)
		if h := c.History()[0]; h.Noted != 1 || h.Err != errDenied.text {
			t.Errorf("history: %+v", h)
		}
	})
}

// The failures of an attempt that has ended are older than those of one that
// has not.
func TestTheLatestErrorIsTold(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		n := 0
		later := errors.New("later")
		c := New(Policy{}, func(ctx context.Context) (*int, time.Time, error) {
			if n++; n == 1 {
				return nil, time.Time{}, errDown
			}
			Tried(ctx, later)
			<-ctx.Done()
			return nil, time.Time{}, later
		})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := c.Get(ctx)
		if f, ok := errors.AsType[*Failure](err); !ok || f.Err != later || f.Attempts != 2 {
			t.Errorf("got %+v", err)
		}
	})
}

func TestTellingOutsideOfAFetchDoesNothing(t *testing.T) {
	t.Parallel()
	Tried(t.Context(), errDown)
	Note(t.Context())
}

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
			Failure{Err: io.ErrUnexpectedEOF, Ctx: context.Canceled, Trying: true, Attempts: 1},
			"context canceled while waiting for another attempt; last error (1 attempt, the last 0s ago): unexpected EOF",
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

func TestGapDoubles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, most time.Duration
		want        string
	}{
		{transientGap, maxGap, "[1s 1s 2s 4s 8s 16s 30s 30s]"},
		{terminalGap, maxGap, "[5s 5s 10s 20s 30s 30s 30s 30s]"},
		{terminalGap, maxUnattended, "[5s 5s 10s 20s 40s 1m20s 2m40s 5m20s]"},
	} {
		var got []time.Duration
		for n := range 8 {
			got = append(got, gap(tt.first, tt.most, n))
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("gap(%v, %v) = %v, want %v", tt.first, tt.most, got, tt.want)
		}
		if got := gap(tt.first, tt.most, 1<<40); got != tt.most {
			t.Errorf("gap(%v, %v, 1<<40) = %v", tt.first, tt.most, got)
		}
	}
}

func TestSuspended(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		wall, monotonic time.Duration
		want            bool
	}{
		{"nothing happened", 50 * time.Millisecond, 50 * time.Millisecond, false},
		{"it timed out as it should", time.Minute, time.Minute, false},
		{"it timed out on a busy machine", 60250 * time.Millisecond, 60250 * time.Millisecond, false},
		{"the machine slept two hours", 2 * time.Hour, time.Second, true},
		{"the machine slept a second", 1100 * time.Millisecond, 100 * time.Millisecond, false},
		{"the process stood still past its timeout", 61 * time.Second, 61 * time.Second, true},
		{"somebody set the clock back", -time.Hour, time.Second, false},
		{"NTP moved the clock a little", 900 * time.Millisecond, 0, false},
	} {
		if got := suspended(tt.wall, tt.monotonic, time.Minute); got != tt.want {
			t.Errorf("%s: suspended = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestRetryAt(t *testing.T) {
	t.Parallel()
	terminal := Verdict{Terminal: true}
	for _, tt := range []struct {
		name  string
		f     failures
		asked bool
		want  time.Duration
	}{
		{"first transient failure", failures{inARow: 1}, true, time.Second},
		{"with all the jitter", failures{inARow: 1, jitter: 1}, true, 1100 * time.Millisecond},
		{"fourth", failures{inARow: 4}, true, 8 * time.Second},
		{"hundredth", failures{inARow: 100}, true, 30 * time.Second},
		{"hundredth, nobody asking", failures{inARow: 100}, false, 30 * time.Second},
		{"first terminal failure", failures{inARow: 1, verdict: terminal}, true, 5 * time.Second},
		{"hundredth terminal", failures{inARow: 100, verdict: terminal}, true, 30 * time.Second},
		{"hundredth terminal, nobody asking", failures{inARow: 100, verdict: terminal}, false, 15 * time.Minute},
		{"fourth that is known to pass", failures{inARow: 4, jitter: 1, verdict: Verdict{MaxPause: 4 * time.Second}}, true, 4400 * time.Millisecond},
		{"fourth that is known to pass, nobody asking", failures{inARow: 4, verdict: Verdict{MaxPause: 4 * time.Second}}, false, 8 * time.Second},
		{"Retry-After, and never earlier", failures{inARow: 1, jitter: 1, verdict: Verdict{RetryAfter: 30 * time.Second}}, true, 30 * time.Second},
		{"Retry-After shorter than the pause", failures{inARow: 4, verdict: Verdict{RetryAfter: time.Second}}, true, 8 * time.Second},
		{"Retry-After of a terminal failure", failures{inARow: 1, verdict: Verdict{Terminal: true, RetryAfter: time.Hour}}, true, time.Hour},
	} {
		tt.f.at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		if got := tt.f.retryAt(tt.asked).Sub(tt.f.at); got != tt.want {
			t.Errorf("%s: after %v, want %v", tt.name, got, tt.want)
		}
	}
}
