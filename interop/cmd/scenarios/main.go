// Command scenarios puts the Dialer of this module and that of
// cloud.google.com/go/cloudsqlconn through the same faults, in front of the same
// emulated instances, and writes what came of it as a table:
//
//	go run -C interop ./cmd/scenarios
//
// Each scenario runs with each Dialer in a process of its own. All of them take
// four minutes. With -only, a part of a name, fewer are run, and the table goes
// to the standard output unless -o names a file.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// repeats is how many times a quick scenario is run.
const repeats = 5

func main() {
	if len(os.Args) == 4 && os.Args[1] == childCommand {
		os.Exit(child(os.Args[2], os.Args[3]))
	}
	only := flag.String("only", "", "run the scenarios with this in their `name`")
	out := flag.String("o", "", "the `file` to write; default ../INTEROP.md, with -only the standard output")
	atOnce := flag.Int("parallel", 1, "how many `processes` run at the same time; more than one disturb each other's times")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only, *out, *atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, out string, atOnce int) error {
	var chosen []scenario
	for _, s := range scenarios {
		if strings.Contains(s.name, only) {
			chosen = append(chosen, s)
		}
	}
	rows, err := runAll(ctx, chosen, subjects, repeats, atOnce, os.Stderr)
	if err != nil {
		return err
	}
	if only != "" && out == "" {
		_, err = io.WriteString(os.Stdout, table(rows))
		return err
	}
	return os.WriteFile(cmp.Or(out, "../INTEROP.md"), []byte(page(rows)), 0o644)
}
