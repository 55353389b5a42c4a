package cloudsqlconn

import "strings"

// FormatIAMUser returns the database user name of an IAM principal, given as an
// e-mail address, for the engine that [Dialer.EngineVersion] names:
//
//   - PostgreSQL: the address, for service accounts without
//     ".gserviceaccount.com"
//   - MySQL: what stands before "@"
//
// Names that are in this form already, and those for other engines, come back
// as they are. Source: the README of Google's Python connector.
func FormatIAMUser(engineVersion, principal string) string {
	switch {
	case strings.HasPrefix(engineVersion, "POSTGRES"):
		return strings.TrimSuffix(principal, ".gserviceaccount.com")
	case strings.HasPrefix(engineVersion, "MYSQL"):
		user, _, _ := strings.Cut(principal, "@")
		return user
	}
	return principal
}
