// Cloudsqlconn is the command-line side of the package of that name.
//
//	cloudsqlconn check my-project:europe-west1:my-db
//
// tests every hop to the database, short of a login, and prints each with its
// time, its result and what to do about it. The exit status is 0 if all is well, 1 if
// a hop failed, and 2 for wrong usage.
//
//	cloudsqlconn proxy -listen 127.0.0.1:5432 my-project:europe-west1:my-db
//
// listens on a local port for programs that cannot use the package, such as psql,
// and connects them to the database. Several instances can be served at once,
// each with parameters of its own:
//
//	cloudsqlconn proxy 'my-project:europe-west1:a?port=5433&iam' 'my-project:europe-west1:b?listen=/run/b'
//
// With -health it answers probes at /startup, /readiness and /liveness, and shows
// a status page at /; cloudsqlconn wait waits until it has started. systemd is
// told too (Type=notify).
//
// The signals INT and TERM stop it, after the connections have ended; a second
// one stops it at once.
//
// Each flag can also be set by an environment variable, such as -quota-project by
// CLOUDSQLCONN_QUOTA_PROJECT. The flag takes precedence. A variable of that prefix
// that is no flag's, as it may be misspelt, is warned of at the start, and has no
// effect.
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
	"strings"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/programversion"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitSignal = 128 // and the signal's number, as a shell has it
)

func main() {
	p := &program{
		stdout:   translated{os.Stdout},
		stderr:   translated{os.Stderr},
		terminal: isTerminal(os.Stdout) && isTerminal(os.Stderr),
	}
	os.Exit(p.main(os.Args[1:]))
}

// program is what the program is run with.
type program struct {
	stdout, stderr io.Writer
	options        []cloudsqlconn.Option // of every Dialer, after those of the flags
	terminal       bool                  // a person reads both
	variables      map[string]bool       // the flags that the environment has set
	warnings       []string              // about the environment; a command tells them when it begins
}

// command is one of the things that the program can do.
type command struct {
	name, arguments, summary string
	details                  string // lines for -h
	// flags defines the command's flags and returns what runs it, with the
	// arguments after them.
	flags func(*program, *flag.FlagSet) func(ctx context.Context, args []string) int
}

var commands = []command{
	{"check", "[flags] INSTANCE", "test every hop to a database and report on each", "", (*program).check},
	{"proxy", "[flags] INSTANCE[?PARAMETERS]...", "connect programs without a Dialer to databases, by a local port", proxyDetails, (*program).proxy},
	{"wait", "[flags]", "wait until a proxy with -health has started", "", (*program).wait},
}

// main runs the program until it ends or is told to by a signal. A second one
// ends it at once.
func (p *program) main(args []string) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 2) // room for both: none is lost
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		stop()
		os.Exit(exitSignal + int((<-signals).(syscall.Signal)))
	}()
	return p.run(ctx, args)
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
	case slices.Contains([]string{"version", "-version", "--version"}, args[0]):
		fmt.Fprintln(p.stdout, programversion.Of("cloudsqlconn"))
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
	fmt.Fprint(w, "\ncloudsqlconn COMMAND -h lists the flags of a command, cloudsqlconn version tells its version.\n")
}

func (p *program) runCommand(ctx context.Context, c *command, args []string) int {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // Parse would print errors twice
	do := c.flags(p, fs)
	operands, err := parse(fs, args)
	if err == nil {
		p.variables, err = fromEnvironment(fs)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(p.stdout, "Usage: cloudsqlconn %s %s\n\n%sEach flag can be set in the environment too, such as -timeout as CLOUDSQLCONN_TIMEOUT. The flags:\n\n", c.name, c.arguments, c.details)
		fs.SetOutput(p.stdout)
		fs.PrintDefaults()
		return exitOK
	case err != nil:
		return p.misused(c.name, err)
	}
	p.warnings = strayVariables(os.Environ())
	return do(ctx, operands)
}

// warn prints the warnings, for commands that have no log.
func (p *program) warn(command string) {
	for _, w := range p.warnings {
		fmt.Fprintf(p.stderr, "cloudsqlconn %s: %s\n", command, w)
	}
}

// parse parses flags, before and after the other arguments, which it returns.
func parse(fs *flag.FlagSet, args []string) (operands []string, err error) {
	for {
		if err := fs.Parse(args); err != nil || fs.NArg() == 0 {
			return operands, err
		}
		operands = append(operands, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// misused prints what is wrong with the flags or arguments of a command, and
// returns the exit status.
func (p *program) misused(command string, err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(p.stderr, "cloudsqlconn %s: %s\n", command, strings.TrimSpace(line))
	}
	fmt.Fprintf(p.stderr, "cloudsqlconn %s -h lists the flags\n", command)
	return exitUsage
}

// explain prints an error, and what to do about it, and returns the exit status.
func (p *program) explain(err error) int {
	fmt.Fprintln(p.stderr, err)
	if hint := cloudsqlconn.Hint(err); hint != "" {
		fmt.Fprintln(p.stderr, hint)
	}
	if errors.Is(err, cloudsqlconn.ErrConfig) {
		return exitUsage
	}
	return exitFailed
}
