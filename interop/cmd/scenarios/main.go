// Command scenarios puts the Dialer of this module and Google's five clients for
// Cloud SQL through the same faults, in front of the same emulated instances, and
// writes what came of it as tables:
//
//	go run -C interop ./cmd/scenarios
//
// Each scenario runs with each client in a process of its own. All of them take
// about a quarter of an hour, and those about SQL Data four minutes more. With
// -only, a part of a name, fewer are run, and the table goes to the standard
// output unless -o names a file. It needs Linux, what the tests of the clients
// need, and a PostgreSQL.
//
// Beside the page, interop/results.jsonl gets the results, and interop/plots the
// pictures of them, which -draw draws again without running anything.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// repeats is how many times a quick scenario is run.
const repeats = 5

func main() {
	serveJob(os.Args)
	only := flag.String("only", "", "run the scenarios with this in their `name`")
	results := flag.String("results", "", "a `file` that gets the results, also with -only")
	out := flag.String("o", "", "the `file` to write, with the results and pictures in the folder interop beside it; default ../INTEROP.md, with -only the standard output")
	atOnce := flag.Int("parallel", 1, "how many `processes` run at the same time; more than one disturb each other's times")
	streams := flag.Bool("streams", false, "run those about SQL Data alone, and write their section anew")
	draw := flag.Bool("draw", false, "run nothing, and draw the pictures from the results")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := func() error { return run(ctx, *only, *out, *results, *atOnce) }
	switch {
	case *streams:
		run = func() error { return runSection(ctx, *out) }
	case *draw:
		run = func() error { return drawAgain(cmp.Or(*out, theFile)) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run runs the scenarios with that in their name, and writes their table alone;
// with "" it runs all, and writes the file.
func run(ctx context.Context, only, out, results string, atOnce int) (err error) {
	var chosen []scenario
	for _, s := range scenarios {
		if strings.Contains(s.name, only) {
			chosen = append(chosen, s)
		}
	}
	db, server, err := startDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	rows, err := runAll(ctx, chosen, subjects, db, repeats, atOnce, os.Stderr)
	if err != nil {
		return err
	}
	if results != "" {
		if err := writeRecords(results, rows); err != nil {
			return err
		}
	}
	if only != "" && out == "" {
		_, err = io.WriteString(os.Stdout, table(rows, subjects)+"\n"+details(rows, subjects))
		return err
	}
	streams, err := runStreams(ctx, db, os.Stderr)
	if err != nil {
		return err
	}
	return write(rows, streams, cmp.Or(out, theFile))
}

// write writes the page, and beside it the results and the pictures.
func write(rows []row, streams []streamRow, file string) error {
	root := filepath.Dir(file)
	return errors.Join(
		drawAll(rows, root),
		writeRecords(filepath.Join(root, resultsFile), rows),
		os.WriteFile(file, []byte(page(rows)+"\n"+streamSection(streams)), 0o644),
	)
}

const theFile = "../INTEROP.md"

// runSection writes the section about SQL Data, which is the last one.
func runSection(ctx context.Context, out string) (err error) {
	db, server, err := startDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	rows, err := runStreams(ctx, db, os.Stderr)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(theFile)
	if err != nil {
		return err
	}
	before, _, _ := strings.Cut(string(text), streamsTitle)
	return os.WriteFile(cmp.Or(out, theFile), []byte(strings.TrimRight(before, "\n")+"\n\n"+streamSection(rows)), 0o644)
}
