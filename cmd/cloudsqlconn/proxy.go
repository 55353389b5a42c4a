package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

func (p *program) proxy(fs *flag.FlagSet) func(context.Context, []string) int {
	var f proxyFlags
	f.define(fs)
	opts := dialerFlags(p, fs)
	return func(ctx context.Context, args []string) int {
		targets, err := parseTargets(args, f.listen)
		options, wrong := opts(targets...)
		if fs.Lookup("dns").Value.String() != "true" {
			err = errors.Join(err, badNames(targets))
		}
		if err = errors.Join(err, f.faults(), wrong); err != nil {
			return p.misused("proxy", err)
		}
		log := f.log.logger(p.stderr)
		for _, w := range p.warnings {
			log.Warn(w)
		}
		options = append(options, cloudsqlconn.WithLogger(log))
		if f.lazy {
			options = append(options, cloudsqlconn.WithLazyRefresh())
		}
		proxy := &proxy{log: log, flags: f}
		if f.health != "" {
			meters, handler, err := newMetrics()
			if err != nil {
				return p.explain(err)
			}
			options = append(options, cloudsqlconn.WithMeterProvider(meters))
			proxy.health.metrics = handler
		}
		d, err := cloudsqlconn.NewDialer(ctx, append(options, p.options...)...)
		if err != nil {
			return p.explain(err)
		}
		defer d.Close()
		proxy.dialer, proxy.health.dialer = d, d
		proxy.health.missing.Store(int64(len(targets)))
		ctx, quit := context.WithCancelCause(ctx)
		defer quit(nil)
		if f.quit {
			proxy.health.quit = func() { quit(errQuit) }
		}
		if f.health != "" {
			addr, stop, err := proxy.health.serve(f.healthPlace())
			if err != nil {
				fmt.Fprintf(p.stderr, "cloudsqlconn proxy: -health: %v\n", err)
				return exitFailed
			}
			defer stop()
			log.Info("answering probes on " + addr.String())
		}
		switch {
		case !proxy.run(ctx, targets):
			return exitFailed
		case errors.Is(context.Cause(ctx), errQuit):
			return exitOK
		}
		return f.exitStatus
	}
}

// errQuit is why a proxy stops that was told so at /quitquitquit.
var errQuit = errors.New("told so at /quitquitquit")

// proxy leads local connections to instances.
type proxy struct {
	dialer *cloudsqlconn.Dialer
	log    *slog.Logger
	flags  proxyFlags
	health health
}

// run serves the instances until ctx ends. It returns false if one of them could
// not be served; the others are all the same.
func (p *proxy) run(ctx context.Context, targets []target) bool {
	accepting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		p.health.stops.Store(true)
		p.tellManager("STOPPING=1")
		message := "stopping; a second signal stops at once"
		if errors.Is(context.Cause(ctx), errQuit) {
			message = "stopping, " + errQuit.Error() + "; two signals stop at once"
		}
		p.log.Info(message, "accept_for", p.flags.acceptFor, "drain", p.flags.drain)
		time.AfterFunc(p.flags.acceptFor, stop)
	})()
	var (
		wg     sync.WaitGroup
		failed atomic.Bool
	)
	for _, t := range targets {
		wg.Go(func() {
			if err := p.serve(ctx, accepting, t); err != nil {
				p.log.Error(err.Error(), hint(err)...)
				failed.Store(true)
			}
		})
	}
	wg.Wait()
	return !failed.Load()
}

// serve leads connections to an instance until accepting ends. What comes before
// the first connection ends with ctx.
func (p *proxy) serve(ctx, accepting context.Context, t target) error {
	var engine string
	if !p.flags.lazy || !t.place.named() {
		var err error
		if engine, err = p.engine(ctx, t); err != nil {
			return err
		}
	}
	l, err := t.place.open(engine)
	if err != nil {
		return fmt.Errorf("%s: -listen: %w", t.name, err)
	}
	attrs := []any{"instance", t.name}
	if engine != "" {
		attrs = append(attrs, "engine", engine)
	}
	all := p.health.missing.Add(-1) == 0
	p.log.Info("listening on "+l.Addr().String(), attrs...)
	if all {
		p.tellManager("READY=1")
	}
	drain := p.flags.drain
	if drain == 0 {
		drain = -1 // at once
	}
	opts := []cloudsqlconn.ServeOption{cloudsqlconn.WithDrainTimeout(drain), cloudsqlconn.WithMaxConnections(p.flags.most)}
	for _, o := range t.opts {
		opts = append(opts, o)
	}
	return p.dialer.Serve(accepting, trim(l, freeMemory), t.name, opts...)
}

// engine asks for the engine, and so finds out what is wrong with the instance,
// or the credentials. SQL Data does not tell it, and serves PostgreSQL.
func (p *proxy) engine(ctx context.Context, t target) (string, error) {
	if p.dialer.SQLDataMode(t.opts...) == cloudsqlconn.SQLDataNever {
		return p.dialer.EngineVersion(ctx, t.name, t.opts...)
	}
	c, err := p.dialer.Dial(ctx, t.name, t.opts...)
	if err != nil {
		return "", err
	}
	return "PostgreSQL", c.Close()
}

func (p *proxy) tellManager(state string) {
	if err := tellManager(state); err != nil {
		p.log.Warn("the service manager cannot be told", "state", state, "error", err.Error())
	}
}

// hint is what to do about err, as an attribute.
func hint(err error) []any {
	if h := cloudsqlconn.Hint(err); h != "" {
		return []any{"hint", h}
	}
	return nil
}
