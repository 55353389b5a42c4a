package refresh

import (
	"context"
	"time"
)

// forceLocked starts a fetch that somebody's bad luck asks for.
func (c *Cache[T]) forceLocked(now time.Time) {
	if c.flight != nil || now.Before(c.retryAtLocked()) {
		return
	}
	if now.Before(c.forcedAgainLocked()) {
		return
	}
	c.fruitless++
	c.forced = now
	c.startLocked(now)
	c.flight.forced = true
}

// forcedAgainLocked is when the next fetch may be forced: now, unless the last
// one was fruitless.
func (c *Cache[T]) forcedAgainLocked() time.Time {
	if c.fruitless == 0 {
		return time.Time{}
	}
	return c.forced.Add(gap(transientGap, maxGap, c.fruitless))
}

// retryAtLocked is when the next attempt may start for a caller: now, unless
// the last one failed.
func (c *Cache[T]) retryAtLocked() time.Time {
	if c.fail == nil {
		return time.Time{}
	}
	return c.fail.retryAt(true)
}

// startLocked starts a fetch, in place of one in progress. What it returns is
// closed when the fetch has ended.
func (c *Cache[T]) startLocked(now time.Time) <-chan struct{} {
	if c.flight != nil {
		c.flight.cancel()
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.policy.Timeout)
	f := &flight{began: now, cancel: cancel, mu: &c.mu}
	ctx = context.WithValue(ctx, flightKey{}, f)
	c.flight, c.paced = f, false
	c.wg.Go(func() {
		defer cancel()
		v, expiry, err := c.fetch(ctx)
		c.land(f, v, expiry, err)
	})
	return c.landed
}

// isDueLocked reports whether a Get is to start the fetch: the value is due, and
// no timer will do it in time.
func (c *Cache[T]) isDueLocked(now time.Time) bool {
	if !c.cur.isDue(now) {
		return false
	}
	wait := c.alarm.Sub(now.Round(0))
	return c.policy.Lazy || wait < -lateSlack || wait > c.cur.left(now)
}

func (c *Cache[T]) armLocked(wait time.Duration) {
	c.alarm = time.Now().Round(0).Add(wait)
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.tick)
		return
	}
	c.timer.Reset(wait)
}

// tick starts the fetch that is due, unless there is nothing left to keep
// fresh, or nobody to keep it fresh for.
func (c *Cache[T]) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.closed || c.flight != nil || !c.cur.usable(now) {
		return
	}
	if c.idleLocked(now) {
		c.cur = nil
		return
	}
	if !c.paced {
		if wait := c.policy.Pacer.reserve(now, c.cur.left(now)/2); wait > 0 {
			c.paced = true
			c.armLocked(wait)
			return
		}
	}
	c.ticked = now
	c.startLocked(now)
	c.flight.timed = true
}
