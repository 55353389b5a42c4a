package cloudsqlconn

import (
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/doctor"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
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
	HopName        Hop = doctor.HopName        // "name": reading it, or asking the program's own resolver
	HopDNS         Hop = doctor.HopDNS         // "DNS": looking it up
	HopCredentials Hop = doctor.HopCredentials // "credentials": finding them
	HopToken       Hop = doctor.HopToken       // "token": getting one for the Admin API
	HopStream      Hop = doctor.HopStream      // "SQL Data": opening a stream to the instance
	HopMetadata    Hop = doctor.HopMetadata    // "metadata": of the instance, from the Admin API
	HopClock       Hop = doctor.HopClock       // "clock": of this machine, against the Admin API's: to a minute
	HopLoginToken  Hop = doctor.HopLoginToken  // "login token": for IAM login; no step without
	HopCertificate Hop = doctor.HopCertificate // "certificate": of the client, from the Admin API
	HopTCP         Hop = doctor.HopTCP         // "TCP": connecting to the address
	HopTLS         Hop = doctor.HopTLS         // "TLS": verifying the server
	HopDatabase    Hop = doctor.HopDatabase    // "database": its first byte, which the server sends once it has accepted the client certificate; no login, so that a database which is full can pass
)

// Result is how a hop ended.
type Result string

// The results.
const (
	Passed  Result = doctor.Passed  // "ok"
	Failed  Result = doctor.Failed  // "failed"
	Skipped Result = doctor.Skipped // "skipped": not needed, or of no use after what had failed
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
func (r *Report) String() string { return r.plain().String() }

// MarshalJSON adds whether the Report is OK.
func (r *Report) MarshalJSON() ([]byte, error) { return r.plain().MarshalJSON() }

// MarshalJSON gives the duration in seconds, and the error as text.
func (s Step) MarshalJSON() ([]byte, error) { return s.plain().MarshalJSON() }

// plain is the report as it is written.
func (r *Report) plain() *doctor.Report {
	plain := &doctor.Report{Time: r.Time, Name: r.Name, Version: r.Version, OK: r.OK()}
	for _, s := range r.Steps {
		plain.Steps = append(plain.Steps, s.plain())
	}
	return plain
}

// plain is the step as it is written: the hop and the instance are known, hence the
// cause of its error only.
func (s Step) plain() doctor.Step {
	plain := doctor.Step{Hop: string(s.Hop), Target: s.Target, Result: string(s.Result), Duration: s.Duration, Detail: s.Detail, Hint: s.Hint}
	if s.Err != nil {
		plain.Err = causeOf(s.Err)
	}
	return plain
}
