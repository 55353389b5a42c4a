package main

import (
	"io"
	"strings"
)

// flagNames says in the words of this program what errors and hints say in those
// of the package. Longer names come before those that they begin with.
var flagNames = strings.NewReplacer(
	"WithAdminAPIEndpoint", "-endpoint",
	"WithCredentialsFile", "-credentials",
	"WithCredentialsJSON", "-credentials-json",
	"WithDialTimeout", "-timeout",
	"WithDNSResolver", "-dns",
	"WithIAMAuthNTokenSources", "-token and -login-token",
	"WithIAMAuthN", "-iam",
	"WithImpersonation", "-impersonate",
	"WithIPTypes", "-ip-types",
	"WithDrainTimeout", "-drain",
	"WithMaxConnections", "-max-connections",
	"WithProxy", "-proxy",
	"WithQuotaProject", "-quota-project",
	"WithSQLDataEndpoint", "-sql-data-endpoint",
	"WithSQLData(SQLDataPrefer)", "-sql-data prefer",
	"WithSQLData(SQLDataNever)", "-sql-data never",
	"WithSQLData", "-sql-data",
	"WithTokenSource", "-token",
	"WithUniverseDomain", "-universe",
	"WithUnlistedDomain(true)", "-unlisted-domain",
	"WithUserAgent", "-user-agent",
)

// translated is a Writer of texts, each written at once.
type translated struct{ io.Writer }

// Write writes the text with flags for options.
func (t translated) Write(text []byte) (int, error) {
	if _, err := io.WriteString(t.Writer, flagNames.Replace(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}
