// Package engine tells the database engines of Cloud SQL apart, by the names that the
// Admin API has for their versions, and says how each spells the users of IAM. What
// differs by engine in the library asks it, but for telemetry, which has words of its own. It
// knows no protocol.
package engine

import "strings"

// Engine is how the names of an engine's versions begin.
type Engine string

// The engines.
const (
	Postgres  Engine = "POSTGRES"
	MySQL     Engine = "MYSQL"
	SQLServer Engine = "SQLSERVER"
)

// All are all of them. What differs by engine has a test over these; what one alone
// has, such as MySQL's metadata exchange, compares with that one.
var All = []Engine{Postgres, MySQL, SQLServer}

// Of returns the engine of a version, such as POSTGRES_16; "" if it is none of these.
func Of(version string) Engine {
	for _, e := range All {
		if strings.HasPrefix(version, string(e)) {
			return e
		}
	}
	return ""
}

// HasIAM reports whether the engine has IAM login.
func (e Engine) HasIAM() bool { return e == Postgres || e == MySQL }

// ByIAM reports whether a database user may be one of IAM's, as written by people: an
// e-mail address.
func ByIAM(user string) bool { return strings.Contains(user, "@") }

// IAMUser returns the database user of an account, given as an e-mail address. What
// is no address is returned as it is, and so is any for an engine without IAM login.
// Sources: the README of Google's Python connector; Cloud SQL's documentation of IAM
// users, which are in lower case.
func (e Engine) IAMUser(email string) string {
	lower := strings.ToLower(email)
	account, _, isEmail := strings.Cut(lower, "@")
	switch {
	case isEmail && e == Postgres:
		return strings.TrimSuffix(lower, ".gserviceaccount.com")
	case isEmail && e == MySQL:
		return account
	}
	return email
}
