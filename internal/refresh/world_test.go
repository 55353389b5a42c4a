package refresh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a cache on fake time, and the source it fetches from. The n-th
// fetch delivers the number n.
type world struct {
	t *testing.T
	c *Cache[int]

	mu     sync.Mutex // guards everything below
	answer answer
	began  []time.Time     // when each fetch began
	ended  []time.Duration // how long each took that has ended, in that order
	flying int             // fetches in progress
	most   int             // the most there were of them at once
}

// answer is what the source does with a fetch.
type answer struct {
	after time.Duration // how long the fetch takes
	life  time.Duration // of the value, from when it is delivered; zero: for ever
	err   error
	deaf  bool // the source does not hear that the fetch's context ends
}

const latency = 100 * time.Millisecond

var (
	hourly = answer{after: latency, life: time.Hour}
	down   = answer{after: latency, err: errDown}
	denied = answer{after: latency, err: errDenied}
	hangs  = answer{after: 1000 * time.Hour}
)

var (
	errDown   = errors.New("source is down")
	errDenied = &judged{"permission denied", Verdict{Terminal: true}}
)

// judged is an error that knows its own verdict.
type judged struct {
	text    string
	verdict Verdict
}

func (e *judged) Error() string { return e.text }

func busy(d time.Duration) answer {
	return answer{after: latency, err: &judged{"too many requests", Verdict{RetryAfter: d}}}
}

// tell plays a story in a bubble with a new cache, whose source answers with
// hourly values at first.
func tell(t *testing.T, p Policy, story func(*testing.T, *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p)
		defer w.c.Close()
		story(t, w)
	})
}

// tellBoth plays a story with either strategy.
func tellBoth(t *testing.T, story func(*testing.T, *world)) {
	t.Helper()
	t.Parallel()
	t.Run("ahead", func(t *testing.T) { tell(t, Policy{}, story) })
	t.Run("lazy", func(t *testing.T) { tell(t, Policy{Lazy: true}, story) })
}

func newWorld(t *testing.T, p Policy) *world {
	if p.Judge == nil {
		p.Judge = func(err error) Verdict {
			if j, ok := errors.AsType[*judged](err); ok {
				return j.verdict
			}
			return Verdict{}
		}
	}
	w := &world{t: t, answer: hourly}
	w.c = New(p, w.fetch)
	return w
}

// newWorlds returns so many worlds whose first fetch has answered.
func newWorlds(t *testing.T, n int, a answer) []*world {
	var worlds []*world
	for range n {
		w := newWorld(t, Policy{})
		t.Cleanup(w.c.Close)
		w.answers(a)
		w.get(time.Minute)
		worlds = append(worlds, w)
	}
	time.Sleep(a.after)
	synctest.Wait()
	return worlds
}

func (w *world) fetch(ctx context.Context) (*int, time.Time, error) {
	w.mu.Lock()
	began := time.Now()
	w.began = append(w.began, began)
	n, a := len(w.began), w.answer
	w.flying++
	w.most = max(w.most, w.flying)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.flying--
		w.ended = append(w.ended, time.Since(began))
		w.mu.Unlock()
	}()

	heard := ctx.Done()
	if a.deaf {
		heard = nil
	}
	select {
	case <-time.After(a.after):
	case <-heard:
		return nil, time.Time{}, ctx.Err()
	}
	switch {
	case a.err != nil:
		return nil, time.Time{}, a.err
	case a.life == 0:
		return &n, time.Time{}, nil
	}
	return &n, time.Now().Add(a.life), nil
}

// answers makes the source answer so from the next fetch on.
func (w *world) answers(a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = a
}

// fetches returns when each fetch began.
func (w *world) fetches() []time.Time {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.began...)
}

func (w *world) wantFetches(n int) {
	w.t.Helper()
	w.wantFetchesBetween(n, n)
}

func (w *world) wantFetchesBetween(least, most int) {
	w.t.Helper()
	if n := len(w.fetches()); n < least || n > most {
		w.t.Errorf("%v: %d fetches, want %d to %d", time.Now().Format(time.TimeOnly), n, least, most)
	}
}

// wantPauses checks the time between the fetches so far, each of which may be
// longer by the tenth of jitter and by what passes until somebody asks.
func (w *world) wantPauses(want ...time.Duration) {
	w.t.Helper()
	began := w.fetches()
	var got []time.Duration
	ok := len(began) == len(want)+1
	for i := range len(began) - 1 {
		d := began[i+1].Sub(began[i])
		got = append(got, d)
		ok = ok && want[i] <= d && d <= want[i]+want[i]/10+latency
	}
	if !ok {
		w.t.Errorf("fetches began %v apart, want %v", got, want)
	}
}

// call is a Get or a Next in progress.
type call struct {
	w    *world
	done chan struct{} // closed when it has returned
	v    *int
	err  error
	took time.Duration
}

// get starts a Get that has so much time.
func (w *world) get(timeout time.Duration) *call {
	return w.start(timeout, w.c.Get)
}

// next starts a Next that has so much time.
func (w *world) next(timeout time.Duration, old *int) *call {
	return w.start(timeout, func(ctx context.Context) (*int, error) { return w.c.Next(ctx, old) })
}

func (w *world) start(timeout time.Duration, f func(context.Context) (*int, error)) *call {
	c := &call{w: w, done: make(chan struct{})}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	go func() {
		defer close(c.done)
		defer cancel()
		c.v, c.err = f(ctx)
		c.took = time.Since(began)
	}()
	synctest.Wait()
	return c
}

// want waits for the call and wants it to have taken so long, give or take the
// tenth of jitter, and to have returned the value of the n-th fetch.
func (c *call) want(n int, took time.Duration) *int {
	c.w.t.Helper()
	<-c.done
	if c.err != nil {
		c.w.t.Fatalf("after %v: %v, want value %d", c.took, c.err, n)
	}
	if *c.v != n {
		c.w.t.Errorf("value %d, want %d", *c.v, n)
	}
	c.wantTook(took)
	return c.v
}

// wantErr waits for the call and wants it to have failed with every one of
// the errors.
func (c *call) wantErr(took time.Duration, targets ...error) *Failure {
	c.w.t.Helper()
	<-c.done
	for _, target := range targets {
		if !errors.Is(c.err, target) {
			c.w.t.Fatalf("after %v: value %v, error %v, want %v", c.took, deref(c.v), c.err, target)
		}
	}
	c.wantTook(took)
	f, _ := errors.AsType[*Failure](c.err)
	return f
}

func (c *call) wantTook(want time.Duration) {
	c.w.t.Helper()
	if c.took < want || c.took > want+want/10 {
		c.w.t.Errorf("it took %v, want %v", c.took, want)
	}
}

func (c *call) wantWaiting() {
	c.w.t.Helper()
	synctest.Wait()
	select {
	case <-c.done:
		c.w.t.Fatalf("returned after %v with %v, %v, want it to wait", c.took, deref(c.v), c.err)
	default:
	}
}

// want wants a Get to return the value of the n-th fetch at once.
func (w *world) want(n int) *int {
	w.t.Helper()
	return w.get(time.Minute).want(n, 0)
}

func deref(v *int) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprint(*v)
}
