package cloudsqltest

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"time"
)

// Token is the bearer token that the Admin API accepts.
func (s *Server) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// LoginToken is the token that the Admin API puts into certificates for IAM login.
func (s *Server) LoginToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loginToken
}

// SetTokens replaces Token and LoginToken; the previous ones are no longer
// accepted. An empty argument leaves a token as it is. Certificates that already
// have a login token remain good.
func (s *Server) SetTokens(token, loginToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.loginToken = cmp.Or(token, s.token), cmp.Or(loginToken, s.loginToken)
}

// takes reports whether the Admin API accepts a token. It does not accept the
// login token, which has another scope.
func (s *Server) takes(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return token == s.token || s.Principals[token] != "" && token != s.loginToken
}

// takesForLogin reports whether a token can be in a certificate.
func (s *Server) takesForLogin(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return token == s.loginToken || s.Principals[token] != ""
}

// spending is what a user has had of a minute's quota.
type spending struct {
	since time.Time // when the minute began, with its first request
	n     int
}

// spend takes a request from the quota of the token's user. It reports false if
// there is none left.
func (s *Server) spend(token string) bool {
	if s.Quota <= 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	user := cmp.Or(s.Principals[token], token)
	had := s.spent[user]
	if had == nil || time.Since(had.since) >= time.Minute {
		had = &spending{since: time.Now()}
		s.spent[user] = had
	}
	had.n++
	return had.n <= s.Quota
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
