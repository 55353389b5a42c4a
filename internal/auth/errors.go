package auth

import (
	"fmt"
	"net/http"
	"time"
)

// NotFoundError says that there are no credentials, or that they cannot be
// read. It shows nothing of what they contain.
type NotFoundError struct {
	// From says where they should have come from: the path of a file,
	// WithCredentialsJSON, or "" for Application Default Credentials of which
	// there are none.
	From string
	// Machine says that no other than the metadata server was asked.
	Machine bool
	Err     error
}

// Error names the place, and what is wrong there.
func (e *NotFoundError) Error() string {
	if e.From == "" {
		return e.Err.Error()
	}
	return "credentials " + e.From + ": " + e.Err.Error()
}

// Unwrap returns the error of the look-up.
func (e *NotFoundError) Unwrap() error { return e.Err }

// MetadataHostError says that there was no answer from the metadata server that the
// environment variable GCE_METADATA_HOST names.
type MetadataHostError struct{ Err error }

// Error names the variable.
func (e *MetadataHostError) Error() string {
	return "the metadata server that " + hostVariable + " names: " + e.Err.Error()
}

// Unwrap returns the error of the network.
func (e *MetadataHostError) Unwrap() error { return e.Err }

// ConfigError says that the credentials do not fit what is asked of them.
type ConfigError struct{ Problem string }

// Error tells the problem.
func (e *ConfigError) Error() string { return e.Problem }

// OwnError says that an [Own], a token source of the caller's, gave tokens that are
// no good.
type OwnError struct{ Problem string }

// Error tells what it gave.
func (e *OwnError) Error() string { return "the token source returned " + e.Problem }

// Step is what a server refused.
type Step string

// The steps on the way to a token.
const (
	UserLogin     Step = "user credentials"    // a refresh token
	AccountKey    Step = "service account key" // an assertion signed with it
	Federation    Step = "external identity"   // a subject token, by the Security Token Service
	SubjectToken  Step = "subject token"       // that is to be exchanged there
	Impersonation Step = "impersonation"       // of a service account, by the IAM Credentials API
	Metadata      Step = "metadata server"     // a token of the machine, or the container
)

// RefusedError says that a server on the way to a token answered with a
// failure.
type RefusedError struct {
	Step   Step
	Host   string // of the server
	Target string // service account that was to be impersonated, or ""
	Code   int
	Header http.Header
	Err    error

	// Stranger is set if the answer does not have the form that those of such a
	// server have: something else has most likely given it.
	Stranger bool

	// ClockOffset is how far this machine's clock was ahead of the server's.
	ClockOffset time.Duration
}

// Error names the step. Secrets that the server was sent are not in it.
func (e *RefusedError) Error() string {
	if e.Target != "" {
		return fmt.Sprintf("%s of %s: %v", e.Step, e.Target, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Step, e.Err)
}

// Unwrap returns the error of the call.
func (e *RefusedError) Unwrap() error { return e.Err }

// ClockOffset is how far now is ahead of the clock of the server that has sent
// h, to a second or two. It reports false if h does not tell.
func ClockOffset(h http.Header, now time.Time) (time.Duration, bool) {
	date, err := http.ParseTime(h.Get("Date"))
	return now.Sub(date), err == nil
}
