// Command report runs the benchmarks and writes BENCHMARKS.md, the plots and
// the samples. Run it in the folder bench:
//
//	go run -C bench ./cmd/report
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"

	"github.com/cloudsqlconn/cloudsqlconn/bench"
)

func main() {
	bench.Main()
	quick := flag.Bool("quick", false, "fewer rounds")
	only := flag.String("only", "", "`pattern` of the workloads to run; without -o the report is printed then, and nothing written")
	before := flag.String("before", "", "`commit` of the state before: the library as it is there takes turns with today's, where a bar is about that")
	to := flag.String("o", "", "`folder` to write the report, its plots and its samples to, in place of the repository's; also with -only")
	flag.Parse()
	if err := report(*quick, *only, *before, *to); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func report(quick bool, only, before, to string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o := bench.Options{Quick: quick, Before: before, Log: os.Stderr}
	if only != "" {
		pattern, err := regexp.Compile(only)
		if err != nil {
			return err
		}
		o.Only = pattern
	}
	r, err := bench.Run(ctx, o)
	if r == nil {
		return err
	}
	if only != "" && to == "" {
		fmt.Print(r.Markdown())
		return err
	}
	return errors.Join(err, r.Write(cmp.Or(to, "..")))
}
