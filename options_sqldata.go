package cloudsqlconn

import (
	"fmt"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// SQLDataMode says whether SQL Data is used: see [WithSQLData].
type SQLDataMode string

// The modes.
const (
	SQLDataNever  SQLDataMode = "NEVER"  // by an address only
	SQLDataPrefer SQLDataMode = "PREFER" // by SQL Data, and by an address where that does not serve the instance
	SQLDataOnly   SQLDataMode = "ONLY"   // by SQL Data only
)

// ParseSQLDataMode reads NEVER, PREFER or ONLY in any letter case.
func ParseSQLDataMode(s string) (SQLDataMode, error) {
	if m := SQLDataMode(strings.ToUpper(s)); m.valid() {
		return m, nil
	}
	return "", &causeError{ErrConfig, fmt.Errorf("unknown SQL Data mode %s; want NEVER, PREFER or ONLY", quote(s))}
}

// String returns NEVER, PREFER or ONLY.
func (m SQLDataMode) String() string { return string(m) }

func (m SQLDataMode) valid() bool {
	return m == SQLDataNever || m == SQLDataPrefer || m == SQLDataOnly
}

// WithSQLData says whether to reach the instance through SQL Data. Default:
// SQLDataNever.
func WithSQLData(mode SQLDataMode) DialOption {
	return dialOption(func(d *dialConfig) { d.sqlData = mode })
}

// WithSQLDataEndpoint sets where SQL Data is: a host, host:port, or a URL.
// Default: the host of the Admin API, see [WithAdminAPIEndpoint] and
// [WithUniverseDomain].
func WithSQLDataEndpoint(endpoint string) Option {
	return option(func(c *config) {
		var err error
		if c.sqlData, err = sqldata.ParseEndpoint(endpoint); err != nil {
			c.errs = append(c.errs, fmt.Errorf("WithSQLDataEndpoint: %w", err))
		}
	})
}
