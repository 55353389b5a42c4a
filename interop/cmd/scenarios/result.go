package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// result is what came of a scenario.
type result struct {
	Until  bool // dialled until one Dial worked
	Dials  int
	Failed int
	Time   time.Duration // from the fault until the end
	Calls  int           // of the Admin API, in that time
	Error  string        `json:",omitempty"` // of the first Dial that failed
	Lacks  string        `json:",omitempty"` // why it could not be run
	Marks  marks         `json:",omitzero"`
}

// outcome is the result in words.
func (r result) outcome() string {
	switch {
	case r.Until && r.Failed == 0:
		return "works"
	case r.Until && r.Failed == 1 && r.Dials > 1:
		return "works after 1 failed Dial"
	case r.Until && r.Failed < r.Dials:
		return fmt.Sprintf("works after %d failed Dials", r.Failed)
	case r.Until:
		return "no Dial works"
	case r.Dials == 1 && r.Failed == 0:
		return "works"
	case r.Dials == 1:
		return "fails"
	case r.Failed == 0:
		return fmt.Sprintf("all %d Dials work", r.Dials)
	}
	return fmt.Sprintf("%d of %d Dials work", r.Dials-r.Failed, r.Dials)
}

// figure is a time in tables and pictures.
func figure(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// calls is a number of calls.
func calls(n int) string {
	if n == 1 {
		return "1 call"
	}
	return fmt.Sprintf("%d calls", n)
}

// longest is how much of an error is shown.
const longest = 300

// port matches what is different in each run.
var port = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// cell is all of it but the error.
func (r result) cell() string {
	if r.Lacks != "" {
		return "–"
	}
	outcome := r.outcome()
	if !r.worked() {
		outcome = "**" + outcome + "**"
	}
	return fmt.Sprintf("%s<br>%s, %s", outcome, figure(r.Time), calls(r.Calls))
}

// ran reports whether the scenario has been run.
func (r result) ran() bool { return r.Lacks == "" }

// worked reports whether the subject has come through.
func (r result) worked() bool {
	return r.Failed == 0 || r.Until && r.Failed < r.Dials
}

// error is the error as text of a page, "" if there is none.
func (r result) error() string {
	if r.Error == "" {
		return ""
	}
	text := port.ReplaceAllString(r.Error, "127.0.0.1:port")
	text = strings.NewReplacer("\n", "; ", "`", "'", "|", "/").Replace(text)
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return "`" + text + "`"
}
