package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// row is a scenario and what came of it with each subject, in their order.
type row struct {
	scenario scenario
	results  []result
}

// quick is how long a scenario takes that is run several times.
const quick = 2 * time.Second

// runAll runs scenarios with subjects, so many at a time, and reports on log how
// far it is. Quick ones are run so many times, and the median counts. Those that
// are idle come last, with all subjects at once.
func runAll(ctx context.Context, chosen []scenario, with []subject, db database, times, atOnce int, log io.Writer) ([]row, error) {
	rows := make([]row, len(chosen))
	for i, s := range chosen {
		rows[i] = row{s, make([]result, len(with))}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failure and log
	var failure error
	run := func(idle bool, atOnce int) {
		slots := make(chan struct{}, atOnce)
		for i, s := range chosen {
			for j, sub := range with {
				if s.idle != idle {
					continue
				}
				if rows[i].results[j].Lacks = sub.lacks(s.settings); rows[i].results[j].Lacks != "" {
					continue
				}
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					r, err := repeat(ctx, s, sub, db, times)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						failure = errors.Join(failure, fmt.Errorf("%s, %s: %w", s.name, sub.name, err))
						return
					}
					rows[i].results[j] = r
					fmt.Fprintf(log, "%s, %s: %s\n", s.name, sub.name, r.outcome())
				})
			}
		}
	}
	run(false, atOnce)
	if atOnce == 1 {
		wg.Wait() // what is measured is not disturbed
	}
	run(true, max(atOnce, len(with)))
	wg.Wait()
	return rows, failure
}

// repeat runs a scenario several times, in as many processes, or in one if the
// subject needs an interpreter.
func repeat(ctx context.Context, s scenario, sub subject, db database, times int) (r result, err error) {
	j := job{Scenario: s.name, Subject: sub.name, Database: db, Times: 1}
	if sub.peer != nil {
		j.Times, times = times, 1
	}
	return median(times, func() (r result, err error) {
		err = j.do(ctx, &r)
		return r, err
	})
}

// median runs something so many times, or once if that is not quick, and
// returns the result with the median time.
func median(times int, run func() (result, error)) (result, error) {
	var all []result
	for len(all) < times {
		r, err := run()
		if err != nil {
			return result{}, err
		}
		all = append(all, r)
		if r.Time > quick {
			break
		}
	}
	slices.SortFunc(all, func(a, b result) int { return cmp.Compare(a.Time, b.Time) })
	return all[len(all)/2], nil
}
