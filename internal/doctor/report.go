package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// Report is what was found, as it is written.
type Report struct {
	Time    time.Time
	Name    string
	Version string
	OK      bool
	Steps   []Step
}

// String returns a table for people to read, and what they can do about the hops
// that have failed.
func (r *Report) String() string {
	var b strings.Builder
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(&b, "check of %s: %s\ncloudsqlconn %s, %s\n\n", r.Name, verdict, r.Version, r.Time.UTC().Format(time.RFC3339))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "HOP\tTARGET\tRESULT\tTIME\tFOUND\n")
	hints := ""
	for _, s := range r.Steps {
		took := "-"
		if s.Result != Skipped {
			took = s.Duration.Round(time.Millisecond).String()
		}
		found := s.Detail
		if s.Err != nil {
			found = strings.TrimPrefix(found+"; "+s.problem(), "; ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Hop, s.Target, s.Result, took, found)
		if s.Hint != "" {
			hints += "\n" + strings.TrimSuffix(fmt.Sprintf("%s %s", s.Hop, s.Target), " ") + ": " + s.Hint + "\n"
		}
	}
	_ = w.Flush() // into memory
	return b.String() + hints
}

// MarshalJSON gives the report the form that the root package describes.
func (r *Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Time    time.Time `json:"time"`
		Name    string    `json:"name"`
		Version string    `json:"version"`
		OK      bool      `json:"ok"`
		Steps   []Step    `json:"steps"`
	}{r.Time.UTC(), r.Name, r.Version, r.OK, r.Steps})
}

// MarshalJSON gives the duration in seconds, and the error as text.
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Hop     string  `json:"hop"`
		Target  string  `json:"target,omitempty"`
		Result  string  `json:"result"`
		Seconds float64 `json:"seconds"`
		Detail  string  `json:"detail,omitempty"`
		Error   string  `json:"error,omitempty"`
		Hint    string  `json:"hint,omitempty"`
	}{s.Hop, s.Target, s.Result, s.Duration.Seconds(), s.Detail, s.problem(), s.Hint})
}

// problem is the text of the step's error, for strangers.
func (s *Step) problem() string {
	err := s.Err
	if err == nil {
		return ""
	}
	var a *reach.AddrError
	if errors.As(err, &a) {
		err = a.Err // the rest is told already
	}
	text := err.Error()
	var (
		file *fs.PathError
		none *auth.NotFoundError
	)
	if errors.As(err, &file) {
		text = strings.ReplaceAll(text, file.Path, shortened(file.Path))
	}
	if errors.As(err, &none) && none.From != "" {
		text = strings.ReplaceAll(text, none.From, shortened(none.From))
	}
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		text = strings.ReplaceAll(text, home, "~")
	}
	return printable(text)
}

// shortened is the last element of a path, and shows that there were others.
func shortened(path string) string {
	base := filepath.Base(path)
	if base == path {
		return path
	}
	return ".../" + base
}

// printable is text in one line of a bounded length: some of what a report
// tells comes from outside, and it is made for terminals.
func printable(text string) string {
	const most = 1500
	return answer.OneLine(text, most)
}
