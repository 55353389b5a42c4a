package auth

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The metadata server cannot be reached on fake time: these are of the package.
func TestAnAddressThatWasNotToldIsAskedForAgainLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{})
		defer c.Close()
		asked, down := 0, errors.New("not now")
		answer := down
		gen := &generation{creds: c, identity: &identity{askEmail: func(context.Context) (string, error) {
			asked++
			return "me@example.com", answer
		}}}
		for _, step := range []struct {
			wait   time.Duration
			answer error
			asked  int
			want   error
		}{
			{0, down, 1, down},
			{4 * time.Second, nil, 1, down}, // it is left alone
			{time.Second, nil, 2, nil},
			{time.Hour, down, 2, nil}, // it is known
		} {
			time.Sleep(step.wait)
			answer = step.answer
			got, err := gen.email(t.Context())
			if err != step.want || asked != step.asked || (err == nil) != (got == "me@example.com") {
				t.Errorf("after %v: got %q, %v, asked %d times; want %v, %d", step.wait, got, err, asked, step.want, step.asked)
			}
		}
	})
}

func TestAnAddressIsAskedForOnceByManyWhoWaitOnTheirOwnContexts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{})
		asked := 0
		gen := &generation{creds: c, identity: &identity{askEmail: func(ctx context.Context) (string, error) {
			asked++
			<-ctx.Done()
			return "", ctx.Err()
		}}}
		began := time.Now()
		for i := range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*100*time.Millisecond)
			defer cancel()
			go func() {
				if _, err := gen.email(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Duration(i+1)*100*time.Millisecond {
					t.Errorf("got %v after %v", err, time.Since(began))
				}
			}()
		}
		time.Sleep(2 * time.Second)
		closed := make(chan error, 1)
		go func() {
			_, err := gen.email(t.Context())
			closed <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-closed; !errors.Is(err, ErrClosed) || time.Since(began) != 2*time.Second {
			t.Errorf("got %v after %v, want ErrClosed", err, time.Since(began))
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}
