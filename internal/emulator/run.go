// Package emulator is the program cloudsql-emulator, but for the databases that
// a build of it may embed: cmd/cloudsql-emulator has none. It
// knows no more of the library than its users do.
package emulator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/cloudsqlconn/cloudsqlconn/internal/programversion"
)

// Run emulates until ctx ends. What clients need goes to stdout, once
// everything listens; events and errors go to stderr. The backend embedded is
// one of dbs, which may be nil. It returns the exit code: 1 if something cannot
// be done, 2 if the command line is wrong.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer, dbs Embedded) int {
	cfg, verbose, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errVersion):
		fmt.Fprintln(stdout, programversion.Of("cloudsql-emulator"))
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "cloudsql-emulator:", err)
		return 2
	}
	e, err := start(ctx, cfg, newLogger(stderr, verbose), dbs)
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
