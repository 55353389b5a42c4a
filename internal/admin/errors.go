package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

// maxText bounds the length of an error's text: what a server sends can be in
// it.
const maxText = 1000

// ReplyError says that a reply of the API makes no sense.
type ReplyError struct {
	Field   string // such as connectSettings.serverCaCert.cert
	Problem string
	Err     error
}

// Error names the field and what is wrong with it.
func (e *ReplyError) Error() string {
	return withCause(fmt.Sprintf("the Admin API's reply is unusable: %s %s", e.Field, e.Problem), e.Err)
}

// Unwrap returns the parser's error, or nil.
func (e *ReplyError) Unwrap() error { return e.Err }

// ConfigError says that what was asked for does not fit the instance, or the
// Dialer's options.
type ConfigError struct {
	Problem string
	Hint    string // what to do about it; "": the problem says so
	Err     error
}

// Error tells the problem.
func (e *ConfigError) Error() string { return withCause(e.Problem, e.Err) }

// Unwrap returns the cause, or nil.
func (e *ConfigError) Unwrap() error { return e.Err }

// ExpiredError says that a certificate has expired which was made just now.
type ExpiredError struct {
	NotAfter time.Time
	Now      time.Time // by this machine's clock

	// ClockOffset is how far that clock is ahead of the API's. Zero: the API
	// did not tell.
	ClockOffset time.Duration
}

// Error tells when it expired.
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("the client certificate that the Admin API has just issued expired at %s; by this machine's clock it is %s",
		e.NotAfter.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
}

// CallError says which call of the API failed.
type CallError struct {
	Call         string        // such as connectSettings
	Stranger     bool          // the answer does not have the form of the API's: something else has given it, or a front end
	Principal    string        // e-mail address of the account that called; "": not known
	QuotaProject string        // that the call named, or ""
	ClockOffset  time.Duration // how far this machine's clock is ahead of the API's; zero: the API did not tell

	text string
	err  error
}

// AbsentError says that no emulator listens, or that something else does, such as
// its own control endpoint, and has done so for a moment in which one could have
// started. Err is a [*CallError], or a [*TokenError] if it was the emulator's metadata
// server that was asked.
type AbsentError struct{ Err error }

// Error is that of Err.
func (e *AbsentError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *AbsentError) Unwrap() error { return e.Err }

// newCallError returns the error of a call. A server can echo what was sent to
// it: secrets are taken out of the text.
func newCallError(call string, err error, secrets ...string) error {
	var (
		tooLong   *http.MaxBytesError
		wrongType *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &tooLong):
		return &ReplyError{Field: call, Problem: "is longer than 1 MiB"}
	case errors.As(err, &wrongType):
		return &ReplyError{Field: strings.TrimSuffix(call+"."+wrongType.Field, "."), Problem: "has the wrong type", Err: err}
	}
	hide := func(text string) string {
		for _, s := range secrets {
			if s != "" {
				text = strings.ReplaceAll(text, s, "[token]")
			}
		}
		return text
	}
	text := hide(textOf(err, hide))
	return &CallError{Call: call, Stranger: isStranger(err), text: answer.OneLine(call+": "+text, maxText), err: err}
}

// pageError is a web page in place of a good reply.
type pageError struct{ text string }

func (e *pageError) Error() string { return e.text }

// isStranger reports whether err is an answer that is not the API's own, whose
// replies are JSON and whose refusals have a form.
func isStranger(err error) bool {
	if _, ok := errors.AsType[*pageError](err); ok {
		return true
	}
	api, ok := errors.AsType[*googleapi.Error](err)
	return ok && !answer.IsRefusal([]byte(api.Body))
}

// Stranger reports whether err is about an answer that has not the form of the
// Admin API's, or of a token server's: it is nobody's refusal.
func Stranger(err error) bool {
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		return refused.Stranger
	}
	call, ok := errors.AsType[*CallError](err)
	return ok && call.Stranger
}

// Error names the call and tells its error.
func (e *CallError) Error() string { return e.text }

// Unwrap returns the call's error.
func (e *CallError) Unwrap() error { return e.err }

// answered reports whether there was an answer.
func (e *CallError) answered() bool {
	_, ok := errors.AsType[*googleapi.Error](e)
	return ok
}

// textOf is the text of a call's error, for people. hide takes secrets out of what
// is cut short.
func textOf(err error, hide func(string) string) string {
	var (
		api    *googleapi.Error
		syntax *json.SyntaxError
		page   *pageError
	)
	switch {
	case errors.As(err, &api) && len(api.Details) > 0: // JSON of many lines, for programs
		short := *api
		short.Details = nil
		return short.Error()
	case api != nil && !answer.IsRefusal([]byte(api.Body)):
		return answer.Summary(api.Code, api.Header, []byte(hide(api.Body)))
	case errors.As(err, &page):
		return hide(page.text)
	case errors.As(err, &syntax):
		return "the reply is not JSON: " + err.Error()
	}
	return err.Error()
}

func withCause(text string, err error) string {
	if err != nil {
		text += ": " + err.Error()
	}
	return answer.OneLine(text, maxText)
}
