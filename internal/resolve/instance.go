package resolve

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// instance asks the API, or what is remembered of its answers.
func (r *Resolver) instance(ctx context.Context, region, name string) (string, error) {
	for {
		c, err := r.cache(region, name)
		if err != nil {
			return "", err
		}
		wait, cancel := ctx, context.CancelFunc(func() {})
		before := c.Status()
		switch {
		case before.Value == nil:
		case before.Err != nil:
			wait, cancel = within(ctx, 0) // it will not be better now
		default:
			wait, cancel = within(ctx, patience(ctx, time.Now()))
		}
		v, err := c.Get(wait)
		cancel()
		switch {
		case err == nil:
			c.Confirm(v)
			return *v, nil
		case errors.Is(err, refresh.ErrClosed):
			continue // Close, or the table was full
		case before.Value == nil:
			return "", err
		case ctx.Err() != nil:
			ended := fmt.Errorf("%w while waiting for the Admin API", refresh.ContextError(ctx))
			if failure, ok := errors.AsType[*refresh.Failure](err); ok && failure.Err != nil {
				ended = fmt.Errorf("%w; last error: %w", ended, failure.Err)
			}
			return "", ended
		}
		c.Refresh(before.Value) // in the background, if it is time for that
		return *before.Value, nil
	}
}

// cache returns what remembers the answers for the DNS name of an instance.
func (r *Resolver) cache(region, name string) (*refresh.Cache[string], error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	c, dropped := r.instances.get(name, time.Now(), func() *refresh.Cache[string] {
		return refresh.New(r.cfg.Policy, func(ctx context.Context) (*string, time.Time, error) {
			instance, err := r.cfg.Instance(ctx, region, name+".")
			if err == nil && !r.cfg.Valid(instance) {
				err = fmt.Errorf("the Admin API says that %s is the instance %s, which is not an instance connection name", name, shorten(instance))
			}
			return &instance, time.Now().Add(instanceLife), err
		})
	})
	r.mu.Unlock()
	for _, old := range dropped {
		old.Close()
	}
	return c, nil
}
