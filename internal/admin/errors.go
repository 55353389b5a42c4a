package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
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
	Err     error
}

// Error tells the problem.
func (e *ConfigError) Error() string { return withCause(e.Problem, e.Err) }

// Unwrap returns the cause, or nil.
func (e *ConfigError) Unwrap() error { return e.Err }

// callError says which call of the API failed.
type callError struct {
	text string
	err  error
}

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
	text := err.Error()
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[token]")
		}
	}
	return &callError{text: oneLine(call + ": " + text), err: err}
}

// Error names the call and tells its error.
func (e *callError) Error() string { return e.text }

// Unwrap returns the call's error.
func (e *callError) Unwrap() error { return e.err }

func withCause(text string, err error) string {
	if err != nil {
		text += ": " + err.Error()
	}
	return oneLine(text)
}

// oneLine returns text without line breaks and other control characters, and
// without what is too long.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return strings.ToValidUTF8(text, "")
}
