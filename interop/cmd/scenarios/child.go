package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// childCommand is the first argument of a process that does one job, which the
// second one tells as JSON.
const childCommand = "run-one"

// childTimeout is more than a job takes.
const childTimeout = 3 * time.Minute

// job is one scenario with one subject.
type job struct {
	Scenario, Subject string
	Stream            bool // of SQL Data
	Database          database
	Times             int // that the process repeats it
}

// do does the job in a process of its own, which prints what goes into result.
// The error says that it could not be done.
func (j job) do(ctx context.Context, result any) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	arg, err := json.Marshal(j)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, childTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, childCommand, string(arg))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second // for programs that the child has left
	// The process ends when its standard input does: with this one.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	if dir, err := os.MkdirTemp("", "scenario-*"); err == nil { // all that it leaves
		defer os.RemoveAll(dir)
		cmd.Env = append(os.Environ(), "TMPDIR="+dir, "TMP="+dir)
	}
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w\n%s", ctx.Err(), stderr.String())
	case err != nil:
		return fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return json.Unmarshal(stdout.Bytes(), result)
}

// serveJob does a job and prints its result, if args ask for that; then it ends
// the process.
func serveJob(args []string) {
	if len(args) != 3 || args[1] != childCommand {
		return
	}
	go func() { // for the life of the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	result, err := doJob(args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func doJob(arg string) (result any, err error) {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return nil, err
	}
	sub, err := named(j.Subject, subjects, func(s subject) string { return s.name })
	if err != nil {
		return nil, err
	}
	if j.Stream {
		s, err := named(j.Scenario, streamScenarios, func(s streamScenario) string { return s.name })
		if err != nil {
			return nil, err
		}
		return runStreamScenario(s, sub, j.Database)
	}
	s, err := named(j.Scenario, scenarios, func(s scenario) string { return s.name })
	if err != nil {
		return nil, err
	}
	return runScenario(s, sub, j.Database, j.Times)
}

// named returns the one with that name.
func named[T any](name string, all []T, nameOf func(T) string) (T, error) {
	for _, one := range all {
		if nameOf(one) == name {
			return one, nil
		}
	}
	var none T
	return none, fmt.Errorf("there is no %q", name)
}
