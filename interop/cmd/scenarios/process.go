package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// childCommand is the first argument of a process that runs one scenario with
// one subject, which the next two name.
const childCommand = "run-one"

// childTimeout is more than a scenario takes.
const childTimeout = 2 * time.Minute

// row is a scenario and what came of it with each subject, in their order.
type row struct {
	scenario scenario
	results  []result
}

// quick is how long a scenario takes that is run several times.
const quick = 2 * time.Second

// runAll runs scenarios with subjects, a few at a time, and reports on log how
// far it is. Quick ones are run so many times, and the median counts.
func runAll(ctx context.Context, chosen []scenario, with []subject, times, atOnce int, log io.Writer) ([]row, error) {
	rows := make([]row, len(chosen))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failure and log
	var failure error
	for i, s := range chosen {
		rows[i] = row{s, make([]result, len(with))}
		for j, sub := range with {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				r, err := median(times, func() (result, error) { return runOne(ctx, s, sub) })
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
	wg.Wait()
	return rows, failure
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

// runOne runs one scenario in a process of its own. The error says that it
// could not be run.
func runOne(ctx context.Context, s scenario, sub subject) (result, error) {
	program, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, childTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, childCommand, s.name, sub.name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// The process ends when its standard input does: with this one.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return result{}, err
	}
	defer stdin.Close()
	err = cmd.Run()
	var r result
	switch {
	case ctx.Err() != nil:
		return result{}, ctx.Err()
	case err != nil:
		return result{}, fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return r, json.Unmarshal(stdout.Bytes(), &r)
}

// child runs one scenario with one subject and prints the result.
func child(scenarioName, subjectName string) (exitCode int) {
	go func() { // for the life of the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	for _, s := range scenarios {
		for _, sub := range subjects {
			if s.name == scenarioName && sub.name == subjectName {
				if err := json.NewEncoder(os.Stdout).Encode(runScenario(s, sub)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return 1
				}
				return 0
			}
		}
	}
	fmt.Fprintln(os.Stderr, "no such scenario or subject")
	return 2
}
