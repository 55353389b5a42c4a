package refresh

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Rule 9: no goroutine while idle; Close waits for the fetch.

// A bubble that ends with goroutines left fails its test.
func TestIdleCacheHasNoGoroutine(t *testing.T) {
	t.Parallel()
	for _, p := range []Policy{{}, {Lazy: true}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, p)
			w.get(time.Minute).want(1, latency)
			w.c.Refresh(w.want(1))
			time.Sleep(45 * time.Minute)
			w.want(len(w.fetches()))
			time.Sleep(time.Second)
			// No Close.
		})
	}
}

func TestCloseEndsTheFetchAndEveryCaller(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(hangs)
		var calls []*call
		for range 50 {
			calls = append(calls, w.get(time.Hour))
		}
		time.Sleep(time.Second)
		w.c.Close()
		if w.flying != 0 {
			t.Error("Close has returned, and the fetch has not")
		}
		for _, c := range calls {
			c.wantErr(time.Second, ErrClosed)
		}
	})
}

func TestCloseEndsCallersThatWaitForTheirTurn(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(busy(time.Hour))
		c := w.get(10 * time.Hour)
		time.Sleep(time.Minute)
		c.wantWaiting()
		w.c.Close()
		c.wantErr(time.Minute, ErrClosed)
	})
}

func TestCloseWaitsForAFetchThatTakesItsTimeToEnd(t *testing.T) {
	tell(t, Policy{Timeout: 10 * time.Second}, func(t *testing.T, w *world) {
		w.answers(answer{after: 15 * time.Second, life: time.Hour, deaf: true})
		given := w.get(time.Hour)
		time.Sleep(12 * time.Second)
		current := w.get(time.Hour) // has given up the first fetch
		w.wantFetches(2)

		began := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(w.c.Close)
		}
		given.wantErr(12*time.Second, ErrClosed) // without waiting
		current.wantErr(0, ErrClosed)
		wg.Wait()
		if d := time.Since(began); d != 15*time.Second {
			t.Errorf("Close took %v, want 15 s", d)
		}
	})
}

func TestClosedCacheDoesNothing(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		v := w.get(time.Minute).want(1, latency)
		w.answers(hangs)
		w.c.Refresh(v)
		w.c.Close()
		w.get(time.Minute).wantErr(0, ErrClosed)
		w.next(time.Minute, v).wantErr(0, ErrClosed)
		w.c.Confirm(v)
		w.c.Refresh(v)
		w.c.Invalidate(v)
		w.c.tick() // a timer that was just firing
		if w.c.timer != nil && w.c.timer.Stop() {
			t.Error("the timer is still armed")
		}
		time.Sleep(24 * time.Hour)
		w.wantFetches(2)
		if !w.c.Idle() {
			t.Error("not idle")
		}
		w.c.Close() // again
	})
}

func TestCloseFromManyGoroutinesAmidTraffic(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		w.answers(answer{after: latency, life: 3 * time.Second})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for {
					v, err := w.c.Get(context.Background())
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Errorf("got %v, want ErrClosed", err)
						}
						return
					}
					w.c.Refresh(v)
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		time.Sleep(10 * time.Second)
		for range 100 {
			wg.Go(w.c.Close)
		}
		wg.Wait()
		n := len(w.fetches())
		time.Sleep(time.Hour)
		w.wantFetches(n)
	})
}

func TestManyCallersInAllKindsOfTrouble(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		answers := []answer{hourly, down, denied, busy(2 * time.Second), {after: 3 * time.Second, life: 5 * time.Second}, hangs}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				for j := range 100 {
					w.answers(answers[(i+j)%len(answers)])
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i)*time.Second)
					v, err := w.c.Get(ctx)
					cancel()
					if (v == nil) == (err == nil) {
						t.Errorf("Get = %v, %v", v, err)
					}
					switch j % 3 {
					case 0:
						w.c.Refresh(v)
					case 1:
						w.c.Invalidate(v)
					default:
						w.c.Confirm(v)
					}
					time.Sleep(time.Duration(1+i*j%7) * time.Second)
				}
			})
		}
		wg.Wait()
		w.c.Close()
		if w.most != 1 {
			t.Errorf("%d fetches at once", w.most)
		}
	})
}
