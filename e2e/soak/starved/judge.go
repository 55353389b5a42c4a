//go:build linux

package starved

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// mostShown bounds how many findings of a kind are printed in full.
const mostShown = 10

// judge prints what has happened since a moment, and returns what is wrong with
// it.
func judge(out io.Writer, r *report, strikes map[string]int, w *witness, began time.Duration) error {
	table(out, "calls", r.Counts)
	table(out, "latest return after the end of a context, in running time", r.Latest)
	table(out, "faults", strikes)
	fmt.Fprintf(out, "peak                %d goroutines, %d sockets, %d MiB heap\n", r.Goroutines, r.Sockets, r.Heap>>20)

	var errs []error
	complain := func(what string, list []string) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(out, "\n%s: %d\n", what, len(list))
		for _, one := range list[:min(len(list), mostShown)] {
			fmt.Fprintln(out, one)
		}
		errs = append(errs, fmt.Errorf("%s: %d", what, len(list)))
	}
	complain("calls that did not return within "+grace.String()+" of running time after their contexts ended", lateCalls(r.Late))
	complain("Dials that failed though they had time and a way", w.accusations(r.Failures, began))
	complain("what does not work once all is well again", r.Broken)
	complain("left behind", r.Leaks)
	return errors.Join(errs...)
}

func table[V any](out io.Writer, title string, rows map[string]V) {
	fmt.Fprintln(out, title)
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(out, "%12v  %s\n", rows[k], k)
	}
}

func lateCalls(late []*lateness) (list []string) {
	for _, l := range late {
		what := "returned"
		if !l.Returned {
			what = "has not returned"
		}
		list = append(list, fmt.Sprintf("%s of %s, with %v that were over after %v: %s, %v of running time later (%v by the clock)\n%s",
			l.Kind, l.On, l.Patience.Round(time.Millisecond), l.At.Round(time.Millisecond), what, l.Late.Round(time.Millisecond), l.Wall.Round(time.Millisecond), l.Stack))
	}
	return list
}

// accusations are the Dials that should not have failed, and why.
func (w *witness) accusations(failures []failure, began time.Duration) (list []string) {
	for _, f := range failures {
		if why := w.accuse(f); why != "" {
			list = append(list, fmt.Sprintf("at %v: %v\n\t%s", (f.From-began).Round(time.Millisecond), f, why))
		}
	}
	return list
}
