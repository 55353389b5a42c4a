package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"time"
)

func (p *program) wait(fs *flag.FlagSet) func(context.Context, []string) int {
	address := fs.String("health", "127.0.0.1:9090", "`address` that the proxy was given as -health")
	timeout := fs.Duration("timeout", 30*time.Second, "how long to wait")
	return func(ctx context.Context, args []string) int {
		switch at := (place{address: *address, remote: true}); {
		case len(args) != 0:
			return p.misused("wait", fmt.Errorf("want flags only, got %d other arguments", len(args)))
		case *timeout <= 0:
			return p.misused("wait", fmt.Errorf("-timeout: want a positive duration, got %v", *timeout))
		case at.address == "" || at.isSocket():
			return p.misused("wait", errors.New("-health: want host:port, such as 127.0.0.1:9090"))
		case at.fault() != nil:
			return p.misused("wait", fmt.Errorf("-health: %w", at.fault()))
		}
		p.warn("wait")
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		if err := waitFor(ctx, "http://"+*address+"/startup"); err != nil {
			fmt.Fprintf(p.stderr, "cloudsqlconn wait: no proxy has started within %v: %v\n", *timeout, err)
			return exitFailed
		}
		return exitOK
	}
}

// waitFor waits until url answers that all is well. When ctx ends, it returns
// what was wrong before.
func waitFor(ctx context.Context, url string) error {
	const pause = 100 * time.Millisecond
	err := look(ctx, url)
	for err != nil {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		if now := look(ctx, url); now == nil || ctx.Err() == nil {
			err = now
		}
	}
	return nil
}

func look(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
