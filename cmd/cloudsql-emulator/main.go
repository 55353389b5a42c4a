// Cloudsql-emulator emulates Cloud SQL on this machine: the SQL Admin API, and
// instances that listen on port 3307 of loopback addresses and forward to
// databases. Connectors in any language run against it as they are, and it
// makes things go wrong on demand.
//
//	cloudsql-emulator -engine postgres -backend auto
//	cloudsql-emulator -config emulator.yaml
//
// README.md has a walk-through, the faults and the control endpoint;
// example.yaml has all that can be configured. What is emulated, and what is
// not, is said by package cloudsqltest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run emulates until ctx ends. What clients need goes to stdout, once
// everything listens; events and errors go to stderr. It returns the exit code:
// 1 if something cannot be done, 2 if the command line is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, verbose, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "cloudsql-emulator:", err)
		return 2
	}
	e, err := start(ctx, cfg, newLogger(stderr, verbose))
	if err != nil {
		fmt.Fprintln(stderr, "cloudsql-emulator:", err)
		return 1
	}
	e.introduce(stdout)
	select {
	case <-ctx.Done():
	case err = <-e.failed:
	}
	if err = errors.Join(err, e.Close()); err != nil {
		fmt.Fprintln(stderr, "cloudsql-emulator:", err)
		return 1
	}
	return 0
}
