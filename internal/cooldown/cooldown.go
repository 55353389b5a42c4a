// Package cooldown says how long a service that is exhausted is left alone. It
// knows nothing of the service.
package cooldown

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// first is how long the first pause is at least; each following one is
	// growth times as long, and at most longest. A random part of a step is added.
	first   = 5 * time.Second
	growth  = 1.618
	longest = time.Minute

	// maxAsked bounds what the service may ask for.
	maxAsked = 10 * time.Minute

	maxSteps = 16 // of which each is longer than the one before
)

// Cooldown is the pauses of one service. Its zero value is none. Its methods are
// safe for concurrent use.
type Cooldown struct {
	mu    sync.Mutex // guards everything below
	steps int        // pauses since the last success
	began time.Time  // the last one
	until time.Time
	why   error
}

// Refused is told that something which began at that time was refused, and how
// long the service has asked to be left alone, 0 if it did not. Refusals of what
// began before a pause, and those during one, belong to the burst that the pause
// is for: they do not make the next one longer.
func (c *Cooldown) Refused(began time.Time, asked time.Duration, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if asked = min(asked, maxAsked); !now.Before(c.until) && began.After(c.began) {
		c.steps = min(c.steps+1, maxSteps)
		c.began, c.why = now, why
		step := float64(first) * math.Pow(growth, float64(c.steps-1)+rand.Float64())
		c.until = now.Add(time.Duration(min(step, float64(longest))))
	}
	if until := now.Add(asked); asked > 0 && until.After(c.until) {
		c.until, c.why = until, why
	}
}

// Good is told that something which began at that time was not refused.
func (c *Cooldown) Good(began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !began.Before(c.until) {
		c.steps, c.why = 0, nil
	}
}

// Until returns when the pause ends, and the refusal that it is for. The time is
// zero, and the error nil, if there is no pause.
func (c *Cooldown) Until() (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !time.Now().Before(c.until) {
		return time.Time{}, nil
	}
	return c.until, c.why
}
