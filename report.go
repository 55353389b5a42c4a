package cloudsqlconn

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
	"unicode"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// Report is what [Dialer.Check] found. It holds no secrets; of a path on this
// machine, it prints only the last element.
type Report struct {
	Time    time.Time // when the check began
	Name    string    // what was checked, as far as it can be a name
	Version string    // of this library
	Steps   []Step    // in the order in which they were taken
}

// Step is one hop of a [Report].
type Step struct {
	Hop      Hop
	Target   string // the address, or the API's host; "" if there is none to name
	Result   Result
	Duration time.Duration
	Detail   string // what was found, or why the hop was skipped: one line
	Hint     string // what to do about a failure: a sentence, or ""
	Err      error  // an [*Error]; nil unless Result is Failed
}

// Hop is a step on the path to a database.
type Hop string

// The hops, in order. The last three appear once for each address. HopStream appears
// with [WithSQLData] only, followed by HopDatabase, without the hops in between.
const (
	HopName        Hop = "name"        // reading it, or asking the program's own resolver
	HopDNS         Hop = "DNS"         // looking it up
	HopCredentials Hop = "credentials" // finding them
	HopToken       Hop = "token"       // getting one for the Admin API
	HopStream      Hop = "SQL Data"    // opening a stream to the instance
	HopMetadata    Hop = "metadata"    // of the instance, from the Admin API
	HopClock       Hop = "clock"       // of this machine, against the Admin API's: to a minute
	HopLoginToken  Hop = "login token" // for IAM login; no step without
	HopCertificate Hop = "certificate" // of the client, from the Admin API
	HopTCP         Hop = "TCP"         // connecting to the address
	HopTLS         Hop = "TLS"         // verifying the server
	HopDatabase    Hop = "database"    // its first byte, which the server sends once it has accepted the client certificate; no login, so that a database which is full can pass
)

// Result is how a hop ended.
type Result string

// The results.
const (
	Passed  Result = "ok"
	Failed  Result = "failed"
	Skipped Result = "skipped" // not needed, or of no use after what had failed
)

// OK reports whether no hop has failed, including those to addresses that a Dial
// would not have needed.
func (r *Report) OK() bool { return r.Err() == nil }

// Err returns the errors of all failed hops as one; nil if there are none.
func (r *Report) Err() error {
	var errs failure.Lines
	for _, s := range r.Steps {
		if s.Result == Failed {
			errs = append(errs, s.Err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// String returns a table for people to read, and what they can do about the hops
// that have failed.
func (r *Report) String() string {
	var b strings.Builder
	verdict := "ok"
	if !r.OK() {
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

// MarshalJSON adds whether the Report is OK.
func (r *Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Time    time.Time `json:"time"`
		Name    string    `json:"name"`
		Version string    `json:"version"`
		OK      bool      `json:"ok"`
		Steps   []Step    `json:"steps"`
	}{r.Time.UTC(), r.Name, r.Version, r.OK(), r.Steps})
}

// MarshalJSON gives the duration in seconds, and the error as text.
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Hop     Hop     `json:"hop"`
		Target  string  `json:"target,omitempty"`
		Result  Result  `json:"result"`
		Seconds float64 `json:"seconds"`
		Detail  string  `json:"detail,omitempty"`
		Error   string  `json:"error,omitempty"`
		Hint    string  `json:"hint,omitempty"`
	}{s.Hop, s.Target, s.Result, s.Duration.Seconds(), s.Detail, s.problem(), s.Hint})
}

// problem is the text of the step's error, for strangers. The hop and the
// instance are known, hence the cause only.
func (s *Step) problem() string {
	err := s.Err
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		err = e.Err
	}
	var a *reach.Attempt
	if errors.As(err, &a) {
		err = a.Err // the rest is told already
	}
	text := err.Error()
	var (
		file *fs.PathError
		none *auth.NotFoundError
	)
	if errors.As(err, &file) {
		text = strings.ReplaceAll(text, file.Path, filepath.Base(file.Path))
	}
	if errors.As(err, &none) && none.From != "" {
		text = strings.ReplaceAll(text, none.From, filepath.Base(none.From))
	}
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		text = strings.ReplaceAll(text, home, "~")
	}
	return printable(text)
}

// printable is text in one line of a bounded length: some of what a report
// tells comes from outside, and it is made for terminals.
func printable(text string) string {
	const most = 1500
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == unicode.ReplacementChar
	}), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
