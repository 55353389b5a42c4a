package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// TestMain is the program itself when a test runs it for one scenario. The
// Dials get more time than in the table: tests measure nothing, and share the
// machine with others.
func TestMain(m *testing.M) {
	dialLimit = time.Minute
	serveJob(os.Args)
	os.Exit(m.Run())
}

// In each scenario a program that goes on dialling is served in the end.
func TestOurDialerComesThroughEveryScenario(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has an address for each instance")
	}
	rows, err := runAll(t.Context(), scenarios, subjects[:1], database{}, 1, 8, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		got := r.results[0]
		if !got.worked() {
			t.Errorf("%s: %s: %s", r.scenario.name, got.outcome(), got.Error)
		}
		checkMarks(t, r.scenario.name, got)
	}
}

func TestOurDialerComesThroughEveryStreamScenario(t *testing.T) {
	t.Parallel()
	for _, s := range streamScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var db database
			if s.database {
				db = testDatabase(t)
			}
			var text string
			err := job{Scenario: s.name, Subject: subjects[0].name, Stream: true, Database: db}.do(t.Context(), &text)
			if err != nil || !regexp.MustCompile(s.ours).MatchString(text) {
				t.Errorf("%s, %v; want %s", text, err, s.ours)
			}
		})
	}
}

// testDatabase starts a database for a test.
func testDatabase(t *testing.T) database {
	t.Helper()
	db, server, err := startDatabase(t.Context())
	if (errors.Is(err, dbserver.ErrNotInstalled) || errors.Is(err, errors.ErrUnsupported)) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// A process that has lost its starter ends, whatever it waits for.
func TestAJobEndsWithItsStandardInput(t *testing.T) {
	t.Parallel()
	arg, err := json.Marshal(job{Scenario: "a network that goes silent", Subject: subjects[0].name, Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, childCommand, string(arg))
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	var output bytes.Buffer // a result, or why there is none
	cmd.Stdout, cmd.Stderr = &output, &output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || output.Len() != 0 {
		t.Errorf("it ended by itself, with %v: %s", err, &output)
	}
}

// Not even one that is killed.
func TestAJobLeavesNoFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	made := func() bool {
		found, err := filepath.Glob(filepath.Join(dir, "*", "streams-*"))
		return err == nil && len(found) > 0
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		var text string
		done <- job{Scenario: "a network that goes silent", Subject: subjects[0].name, Stream: true}.do(ctx, &text)
	}()
	for tick := time.NewTicker(time.Millisecond); !made(); {
		select {
		case <-tick.C:
		case err := <-done:
			t.Fatalf("the job ended before it had a folder: %v", err)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestTheTableHasEveryScenario(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../INTEROP.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range streamScenarios {
		if !strings.Contains(string(text), "- **"+s.name+".** "+s.what+"\n") {
			t.Errorf("INTEROP.md lacks the stream scenario %q, or tells it otherwise: write it anew with -streams", s.name)
		}
	}
	for _, s := range scenarios {
		if !strings.Contains(string(text), "**"+s.name+".** "+s.what+"\n") {
			t.Errorf("INTEROP.md lacks the scenario %q, or tells it otherwise: write it anew, see the package comment", s.name)
		}
	}
}

func TestQuickScenariosShowTheirMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		took []time.Duration
		want time.Duration
		runs int
	}{
		{[]time.Duration{5, 1, 4, 2, 3}, 3, 5},
		{[]time.Duration{quick + 1}, quick + 1, 1},
		{[]time.Duration{1, quick + 1}, quick + 1, 2},
	} {
		runs := 0
		got, err := median(5, func() (result, error) {
			runs++
			return result{Time: c.took[runs-1]}, nil
		})
		if err != nil || got.Time != c.want || runs != c.runs {
			t.Errorf("%v: %v after %d runs, %v", c.took, got.Time, runs, err)
		}
	}
}

func TestOutcomesInWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		got  result
		want string
	}{
		{result{Until: true, Dials: 1}, "works"},
		{result{Until: true, Dials: 2, Failed: 1}, "works after 1 failed Dial"},
		{result{Until: true, Dials: 9, Failed: 8}, "works after 8 failed Dials"},
		{result{Until: true, Dials: 1, Failed: 1}, "no Dial works"},
		{result{Until: true, Dials: 9, Failed: 9}, "no Dial works"},
		{result{Dials: 1}, "works"},
		{result{Dials: 1, Failed: 1}, "fails"},
		{result{Dials: 5}, "all 5 Dials work"},
		{result{Dials: 5, Failed: 2}, "3 of 5 Dials work"},
	} {
		if c.got.outcome() != c.want {
			t.Errorf("%+v: %q, want %q", c.got, c.got.outcome(), c.want)
		}
	}
}
