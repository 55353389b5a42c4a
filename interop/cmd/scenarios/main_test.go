package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain is the program itself when a test runs it for one scenario. The
// Dials get more time than in the table: tests measure nothing, and share the
// machine with others.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == childCommand {
		dialLimit = time.Minute
		os.Exit(child(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 4 && os.Args[1] == streamCommand {
		dialLimit = time.Minute
		os.Exit(streamChild(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// In each scenario a program that goes on dialling is served in the end.
func TestOurDialerComesThroughEveryScenario(t *testing.T) {
	t.Parallel()
	rows, err := runAll(t.Context(), scenarios, subjects[:1], 1, 8, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if got := r.results[0]; !got.worked() {
			t.Errorf("%s: %s: %s", r.scenario.name, got.outcome(), got.Error)
		}
	}
}

func TestOurDialerComesThroughEveryStreamScenario(t *testing.T) {
	t.Parallel()
	for _, s := range streamScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			text, err := runStream(t.Context(), s, subjects[0])
			if err != nil || !strings.Contains(text, s.ours) {
				t.Errorf("%s, %v; want %s", text, err, s.ours)
			}
		})
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
