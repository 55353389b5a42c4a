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

// judge prints what has happened, and returns what is wrong with it.
func judge(out io.Writer, r *report, strikes map[string]int, w *witness) error {
	table(out, "calls", r.Counts)
	table(out, "latest return after the end of a context, in running time", r.Latest)
	table(out, "faults", strikes)
	fmt.Fprintf(out, "peak                %d goroutines, %d sockets, %d MiB heap\n", r.Goroutines, r.Sockets, r.Heap>>20)

	var errs []error
	complain := func(what string, n int, list []string) {
		if n == 0 {
			return
		}
		fmt.Fprintf(out, "\n%s: %d\n", what, n)
		for _, one := range list[:min(len(list), mostShown)] {
			fmt.Fprintln(out, one)
		}
		errs = append(errs, fmt.Errorf("%s: %d", what, n))
	}
	complain("calls that did not return within "+grace.String()+" of running time after their contexts ended", len(r.Late), lateCalls(r.Late))
	n, accusations := w.accusations(r.Failures)
	complain("Dials that failed though they had time and a way", n, accusations)
	complain("what does not work once all is well again", len(r.Broken), r.Broken)
	complain("left behind", len(r.Leaks), r.Leaks)
	if len(errs) == 0 {
		fmt.Fprintln(out, "left behind         no goroutine, no socket, no connection")
	}
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

// accusations are the Dials that should not have failed, and why: the first of
// each instance after the same fault, and how many followed.
func (w *witness) accusations(failures []failure) (n int, list []string) {
	type cause struct{ instance, fault string }
	first, more := map[cause]string{}, map[cause]int{}
	var order []cause
	for _, f := range failures {
		why := w.accuse(f)
		if why == "" {
			continue
		}
		n++
		c := cause{f.Instance, w.lastFault(f)}
		if first[c] == "" {
			order = append(order, c)
			first[c] = fmt.Sprintf("at %v: %v\n\t%s", (f.From - w.began).Round(time.Millisecond), f, why)
			continue
		}
		more[c]++
	}
	for _, c := range order {
		list = append(list, fmt.Sprintf("%s\n\tand %d more until the next fault", first[c], more[c]))
	}
	return n, list
}
