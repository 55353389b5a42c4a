package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// proxyFlags are the flags of proxy alone.
type proxyFlags struct {
	listen     place
	most       int
	drain      time.Duration
	acceptFor  time.Duration
	exitStatus int
	lazy       bool
	health     string
	log        logFlags
}

func (p *program) proxy(fs *flag.FlagSet) func(context.Context, []string) int {
	var f proxyFlags
	fs.StringVar(&f.listen.address, "listen", "", "`address` to listen on: host:port, the path of a unix socket, or a folder for one of the engine's usual name (default the engine's own port on 127.0.0.1)")
	fs.BoolVar(&f.listen.remote, "allow-remote", false, "allow an address that other machines can reach: whoever can connects as you")
	fs.Func("socket-mode", "`mode` of unix sockets, such as 0660 (default 0600: this user alone)", f.listen.setMode)
	fs.Func("socket-group", "`group` of unix sockets, a name or a number", f.listen.setGroup)
	fs.IntVar(&f.most, "max-connections", 0, "`number` of connections to each instance that may be open at once (default no limit)")
	fs.DurationVar(&f.drain, "drain", 30*time.Second, "how long connections may stay open after a signal to stop")
	fs.DurationVar(&f.acceptFor, "accept-for", 0, "how long new connections are still accepted after a signal to stop (default not at all)")
	fs.IntVar(&f.exitStatus, "exit-status", exitOK, "exit `status` after a signal to stop")
	fs.BoolVar(&f.lazy, "lazy", false, "refresh certificates when a connection needs one, not in the background; with an address, nothing is asked before the first client")
	fs.StringVar(&f.health, "health", "", "`address` to answer probes on, at /startup, /readiness and /liveness, with a status page at / (default none)")
	f.log.define(fs)
	opts := dialerFlags(fs)
	return func(ctx context.Context, args []string) int {
		targets, err := parseTargets(args, f.listen)
		if err != nil {
			fmt.Fprintf(p.stderr, "cloudsqlconn proxy: %v\n", err)
			return exitUsage
		}
		options, err := opts()
		if err != nil {
			fmt.Fprintf(p.stderr, "cloudsqlconn proxy: %v\n", err)
			return exitUsage
		}
		log := f.log.logger(p.stderr)
		options = append(options, cloudsqlconn.WithLogger(log))
		if f.lazy {
			options = append(options, cloudsqlconn.WithLazyRefresh())
		}
		d, err := cloudsqlconn.NewDialer(ctx, append(options, p.options...)...)
		if err != nil {
			return p.explain(err)
		}
		defer d.Close()
		proxy := &proxy{dialer: d, log: log, flags: f, health: health{dialer: d}}
		proxy.health.missing.Store(int64(len(targets)))
		if f.health != "" {
			addr, stop, err := proxy.health.serve(place{address: f.health, remote: f.listen.remote})
			if err != nil {
				fmt.Fprintf(p.stderr, "cloudsqlconn proxy: -health: %v\n", err)
				return exitFailed
			}
			defer stop()
			log.Info("answering probes on " + addr.String())
		}
		if !proxy.run(ctx, targets) {
			return exitFailed
		}
		return f.exitStatus
	}
}

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
		p.log.Info("stopping; a second signal stops at once", "accept_for", p.flags.acceptFor, "drain", p.flags.drain)
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
	p.log.Info("listening on "+l.Addr().String(), attrs...)
	if p.health.missing.Add(-1) == 0 {
		p.tellManager("READY=1")
	}
	opts := []cloudsqlconn.ServeOption{cloudsqlconn.WithDrainTimeout(p.flags.drain)}
	if p.flags.most != 0 {
		opts = append(opts, cloudsqlconn.WithMaxConnections(p.flags.most))
	}
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
