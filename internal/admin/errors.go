package admin

import "fmt"

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

func withCause(text string, err error) string {
	if err == nil {
		return text
	}
	return text + ": " + err.Error()
}
