//go:build linux

package starved

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// calls are those under way, and what has become of the others.
type calls struct {
	heart *heart
	began time.Duration

	mu      sync.Mutex // guards everything below
	out     map[*call]bool
	outcome report
	taken   int // stacks
}

// call is one that has not returned.
type call struct {
	kind, on  string
	patience  time.Duration
	from, end time.Duration // when its context begins and ends
	goroutine string        // its caller's, as stack traces name it
	late      *lateness     // nil while it is not
	stack     string        // where it was when half of its grace was over
}

func newCalls(h *heart) *calls {
	return &calls{heart: h, began: now(), out: map[*call]bool{}, outcome: report{Counts: map[string]int{}, Latest: map[string]time.Duration{}}}
}

// do calls f with a context that ends after so long, and keeps what comes of
// it.
func (c *calls) do(kind, on string, patience time.Duration, f func(context.Context) error) error {
	one := &call{kind: kind, on: on, patience: patience, from: now(), goroutine: goroutine()}
	one.end = one.from + patience
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.mu.Lock()
	c.out[one] = true
	c.mu.Unlock()

	err := f(ctx)

	at := now()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.out, one)
	ended := at >= one.end
	if ended {
		c.overdueLocked(one, at)
	}
	if one.late != nil {
		one.late.Returned = true
	}
	c.outcome.Counts[kind+" "+class(err, ended)]++
	if kind == dialKind && err != nil {
		c.outcome.Failures = append(c.outcome.Failures, failure{on, one.from, at, patience, ended, err.Error()})
	}
	return err
}

func class(err error, ended bool) string {
	switch {
	case err == nil:
		return "good"
	case ended, errors.Is(err, context.DeadlineExceeded):
		return "own context"
	}
	return "error"
}

// overdueLocked notes how late a call is.
func (c *calls) overdueLocked(one *call, at time.Duration) {
	late := c.heart.within(one.end, at)
	c.outcome.Latest[one.kind] = max(c.outcome.Latest[one.kind], late)
	if late <= grace {
		return
	}
	if one.late == nil {
		one.late = &lateness{Kind: one.kind, On: one.on, Patience: one.patience, At: one.end - c.began}
		one.late.Stack = one.stack
		c.outcome.Late = append(c.outcome.Late, one.late)
	}
	one.late.Late, one.late.Wall = late, at-one.end
}

// mostStacks bounds how often stacks are taken, which stops everything.
const mostStacks = 100

// watch looks for calls that do not return in time, and where they are, until
// ctx ends.
func (c *calls) watch(ctx context.Context) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.look()
		case <-ctx.Done():
			return
		}
	}
}

func (c *calls) look() {
	at := now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcome.Goroutines = max(c.outcome.Goroutines, runtime.NumGoroutine())
	var slow []*call
	for one := range c.out {
		if at > one.end {
			c.overdueLocked(one, at)
			if one.stack == "" && c.heart.within(one.end, at) > grace/2 {
				slow = append(slow, one)
			}
		}
	}
	if len(slow) == 0 || c.taken == mostStacks {
		return
	}
	c.taken++
	all := stacks()
	for _, one := range slow {
		one.stack = stackOf(all, one.goroutine)
	}
}

// missing returns how many calls are under way, and their longest wait in
// running time after the end of their contexts.
func (c *calls) missing() (n int, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := range c.out {
		wait = max(wait, c.heart.within(one.end, now()))
	}
	return len(c.out), wait
}

// goroutine names the one that calls it.
func goroutine() string {
	buf := make([]byte, 64)
	name, _, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte(" ["))
	return string(name)
}

// stacks are those of all goroutines.
func stacks() []byte {
	buf := make([]byte, 4<<20)
	return buf[:runtime.Stack(buf, true)]
}

func stackOf(all []byte, goroutine string) string {
	for one := range bytes.SplitSeq(all, []byte("\n\n")) {
		if bytes.HasPrefix(one, []byte(goroutine+" [")) {
			return string(one)
		}
	}
	return fmt.Sprintf("%s has gone", goroutine)
}
