// Package auth finds Google credentials.
package auth

import (
	"context"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

const (
	adminScope = "https://www.googleapis.com/auth/sqlservice.admin"
	loginScope = "https://www.googleapis.com/auth/sqlservice.login"
)

// NotFoundError says that there are no credentials, or that they cannot be
// read.
type NotFoundError struct{ Err error }

// Error is the text of the lookup.
func (e *NotFoundError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the lookup.
func (e *NotFoundError) Unwrap() error { return e.Err }

// How much of a token's life must be left for it to be used again. A login
// token ends the certificate that it is put into, so that it must be fresh.
const (
	adminReserve = time.Minute
	loginReserve = 30 * time.Minute
)

// Admin returns a source of tokens for Admin API calls from Application
// Default Credentials. These are looked up at the first Token, and again after
// a lookup that failed, which is a [*NotFoundError].
func Admin() oauth2.TokenSource {
	return oauth2.ReuseTokenSourceWithExpiry(nil, &defaultSource{scopes: []string{adminScope}}, adminReserve)
}

// Login is like Admin, for tokens that go into certificates for IAM login.
func Login() oauth2.TokenSource {
	return oauth2.ReuseTokenSourceWithExpiry(nil, &defaultSource{scopes: []string{loginScope}}, loginReserve)
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
