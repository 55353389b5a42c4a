// Cloudsqlconn is the command-line side of the package of that name.
//
//	cloudsqlconn check my-project:europe-west1:my-db
//
// tests every hop to the database, short of a login, and prints each with its
// time, its result and what to do about it. The exit status is 0 if all is well, 1
// if a hop failed, and 2 if the arguments are wrong.
//
//	cloudsqlconn proxy -listen 127.0.0.1:5432 my-project:europe-west1:my-db
//
// listens on a local port and connects its clients to the database, for programs
// that cannot use the package, such as psql. It ends with the signals INT and TERM.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := (&program{stdout: translated{os.Stdout}, stderr: translated{os.Stderr}}).run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// program is what the program is run with.
type program struct {
	stdout, stderr io.Writer
	options        []cloudsqlconn.Option // of every Dialer, after those of the flags
}

// command is one of the things that the program can do.
type command struct {
	name, arguments, summary string
	// flags defines the command's flags and returns what runs it, with the
	// arguments after them.
	flags func(*program, *flag.FlagSet) func(ctx context.Context, args []string) int
}

var commands = []command{
	{"check", "[flags] INSTANCE", "test every hop to a database and report on each", (*program).check},
	{"proxy", "[flags] INSTANCE", "listen on a local port and connect its clients to a database", (*program).proxy},
}

// run returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		usage(p.stderr)
		return exitUsage
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	switch {
	case i >= 0:
		return p.runCommand(ctx, &commands[i], args[1:])
	case slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]):
		usage(p.stdout)
		return exitOK
	}
	fmt.Fprintf(p.stderr, "cloudsqlconn: unknown command %q\n", args[0])
	usage(p.stderr)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Usage: cloudsqlconn COMMAND\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-8s%s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\ncloudsqlconn COMMAND -h lists the flags of a command.\n")
}

func (p *program) runCommand(ctx context.Context, c *command, args []string) int {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // Parse would print errors twice
	do := c.flags(p, fs)
	err := fs.Parse(args)
	help := errors.Is(err, flag.ErrHelp)
	if err == nil {
		return do(ctx, fs.Args())
	}
	w, code := p.stderr, exitUsage
	if help {
		w, code = p.stdout, exitOK
	} else {
		fmt.Fprintf(p.stderr, "cloudsqlconn %s: %v\n", c.name, err)
	}
	fmt.Fprintf(w, "Usage: cloudsqlconn %s %s\n\n", c.name, c.arguments)
	fs.SetOutput(w)
	fs.PrintDefaults()
	return code
}
