// Package auth finds Google credentials.
package auth

import (
	"context"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// LoginScope is the one scope of the tokens that go into certificates for IAM
// login.
const LoginScope = "https://www.googleapis.com/auth/sqlservice.login"

// AdminScopes are the scopes that authorise Admin API calls.
var AdminScopes = []string{"https://www.googleapis.com/auth/sqlservice.admin"}

// NotFoundError says that there are no credentials, or that they cannot be
// read.
type NotFoundError struct{ Err error }

// Error is the text of the lookup.
func (e *NotFoundError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the lookup.
func (e *NotFoundError) Unwrap() error { return e.Err }

// Default returns a source of tokens from Application Default Credentials.
// They are looked up at the first Token, and again after a lookup that failed,
// which is a [*NotFoundError].
func Default(scopes ...string) oauth2.TokenSource {
	return oauth2.ReuseTokenSource(nil, &defaultSource{scopes: scopes})
}

type defaultSource struct{ scopes []string }

// Token looks the credentials up anew: it is called once a token's life.
func (s *defaultSource) Token() (*oauth2.Token, error) {
	creds, err := google.FindDefaultCredentials(context.Background(), s.scopes...)
	if err != nil {
		return nil, &NotFoundError{Err: err}
	}
	return creds.TokenSource.Token()
}
