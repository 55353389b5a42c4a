package main

import (
	"errors"
	"flag"
	"fmt"
	"time"
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
	quit       bool
	log        logFlags
}

func (f *proxyFlags) define(fs *flag.FlagSet) {
	fs.StringVar(&f.listen.address, "listen", "", "`address` to listen on: host:port, the path of a unix socket, or a folder for one of the engine's usual name (default the engine's own port on 127.0.0.1)")
	fs.BoolVar(&f.listen.remote, "allow-remote", false, "allow addresses that other machines can reach: who reaches that of -listen connects as you, who reaches that of -health reads the names of your instances")
	fs.Func("socket-mode", "`mode` of unix sockets, such as 0660 (default 0600: this user alone)", f.listen.setMode)
	fs.Func("socket-group", "`group` of unix sockets, a name or a number", f.listen.setGroup)
	fs.IntVar(&f.most, "max-connections", 0, "`number` of connections to each instance that may be open at once (default no limit)")
	fs.DurationVar(&f.drain, "drain", 30*time.Second, "how long connections may stay open after a signal to stop")
	fs.DurationVar(&f.acceptFor, "accept-for", 0, "how long new connections are still accepted after a signal to stop (default not at all)")
	fs.IntVar(&f.exitStatus, "exit-status", exitOK, "exit `status` after a signal to stop")
	fs.BoolVar(&f.lazy, "lazy", false, "refresh certificates when a connection needs one, not in the background; with an address, nothing is asked before the first client")
	fs.StringVar(&f.health, "health", "", "`address` to answer probes on, at /startup, /readiness and /liveness, with Prometheus metrics at /metrics and a status page at / (default none)")
	fs.BoolVar(&f.quit, "quitquitquit", false, "with -health, stop as after a signal when a program on this machine sends a POST to /quitquitquit there, by no proxy")
	f.log.define(fs)
}

// faults returns what is wrong with the flags.
func (f *proxyFlags) faults() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.most < 0 {
		fault("-max-connections: want 1 or more, or 0 for no limit, got %d", f.most)
	}
	if f.drain < 0 {
		fault("-drain: want 0 or more, got %v", f.drain)
	}
	if f.acceptFor < 0 {
		fault("-accept-for: want 0 or more, got %v", f.acceptFor)
	}
	if f.exitStatus < 0 || f.exitStatus > 255 {
		fault("-exit-status: want a number from 0 to 255, got %d", f.exitStatus)
	}
	if at := f.healthPlace(); f.health != "" && at.isSocket() {
		fault("-health: want host:port, such as 127.0.0.1:9090")
	} else if err := at.fault(); err != nil {
		fault("-health: %w", err)
	}
	if f.quit && f.health == "" {
		fault("-quitquitquit: want -health too, the address that it is asked at")
	}
	if f.log.quiet && f.log.level != nil {
		fault("-quiet and -log-level: want one of them")
	}
	return errors.Join(errs...)
}

// healthPlace is where probes are answered.
func (f *proxyFlags) healthPlace() place { return place{address: f.health, remote: f.listen.remote} }
