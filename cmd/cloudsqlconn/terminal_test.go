package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAReportOnATerminalHasColours(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	report := func(name string) string {
		var out, errs strings.Builder
		p := &program{stdout: &out, stderr: &errs, options: s.Options(), terminal: true}
		p.run(t.Context(), []string{"check", name})
		return out.String()
	}
	good, bad := report(instance), report("my-project:europe-west1:other")
	for _, want := range []string{": \x1b[32mok\x1b[0m\n", " \x1b[32mok\x1b[0m ", " \x1b[90mskipped\x1b[0m "} {
		if !strings.Contains(good, want) {
			t.Errorf("there is no %q in %q", want, good)
		}
	}
	for _, want := range []string{": \x1b[31mFAILED\x1b[0m\n", " \x1b[31mfailed\x1b[0m "} {
		if !strings.Contains(bad, want) {
			t.Errorf("there is no %q in %q", want, bad)
		}
	}
	if _, hints, _ := strings.Cut(bad, "\n\nmetadata "); hints == "" || strings.Contains(hints, "\x1b") {
		t.Errorf("colours in %q", hints)
	}
	// The columns are where they were.
	for _, colour := range []string{"\x1b[32m", "\x1b[31m", "\x1b[90m", "\x1b[0m"} {
		bad = strings.ReplaceAll(bad, colour, "")
	}
	_, plain, _ := cli(t, s, "check", "my-project:europe-west1:other")
	heading := func(text string) string {
		_, t, _ := strings.Cut(text, "HOP ")
		h, _, _ := strings.Cut(t, "\n")
		return h
	}
	if heading(bad) != heading(plain) || strings.Contains(plain, "\x1b") {
		t.Errorf("got %q, want %q", bad, plain)
	}
}

func TestProgressIsShownWhileItTakesLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			took time.Duration
			want string
		}{
			{900 * time.Millisecond, ""},
			{2500 * time.Millisecond, "\rchecking x, 1s\rchecking x, 2s\r\x1b[K"},
		} {
			var out strings.Builder
			ctx, cancel := context.WithTimeout(t.Context(), tt.took)
			showProgress(ctx, &out, "checking x")
			cancel()
			if out.String() != tt.want {
				t.Errorf("%q, want %q", &out, tt.want)
			}
		}
	})
}

func TestAFileIsNoTerminal(t *testing.T) {
	t.Parallel()
	f, err := os.Create(t.TempDir() + "/report")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if isTerminal(f) {
		t.Error("it is taken for one")
	}
}
