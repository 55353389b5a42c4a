package cloudsqlconn

import (
	"fmt"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
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

// ParseSQLDataMode parses NEVER, PREFER or ONLY in any letter case.
func ParseSQLDataMode(s string) (SQLDataMode, error) {
	if m := SQLDataMode(strings.ToUpper(s)); m.valid() {
		return m, nil
	}
	return "", failure.Mark(ErrConfig, fmt.Errorf("unknown SQL Data mode %s; want NEVER, PREFER or ONLY", failure.Quote(s)))
}

// String returns NEVER, PREFER or ONLY.
func (m SQLDataMode) String() string { return string(m) }

func (m SQLDataMode) valid() bool {
	return m == SQLDataNever || m == SQLDataPrefer || m == SQLDataOnly
}

// WithSQLData says whether to reach the instance through SQL Data, Google's gRPC
// service that carries the bytes of a database connection in a stream on the host
// of the Admin API. The instance can then be reached from wherever that API can:
// there is no address, no TCP port 3307, no metadata and no client certificate.
// Google's own connectors speak it; Google documents neither the service nor which
// instances it serves. PostgreSQL instances of the edition DEVELOPER are known to be
// served. Default: SQLDataNever.
//
// SQLDataPrefer uses an address if the service says that it does not serve the
// instance, or that the instance does not allow it, and in no other case. If it says
// so late, after Dial has returned but before anything was read, the connection
// continues over an address unnoticed, unless more than 64 KiB have been written by
// then, which is an error. Once the instance has been reached at an address, Dials
// use addresses at once for 10 to 15 minutes; see [InstanceStatus] and
// [Dialer.Warmup]. SQLDataOnly, which Google calls Connect Tunnel, never uses an
// address.
//
// Dial waits through transient failures as long as its context lasts. A service that
// is exhausted is left alone for 5 s or longer, or for as long as it asks; a Dial
// that has the time waits for the end of that pause, and any other fails at once.
//
// The connection is encrypted by HTTPS as far as Google and no further: the rest of
// the path is Google's. Inside, a database's own TLS can be used, if it offers it.
// The connection has real deadlines and CloseWrite, but no SyscallConn and no
// ConnectionState. It costs a goroutine, and at most two more while it is used.
// A message of more than 100 MiB from the service ends it, as with Google's
// connector for Go; there is no limit on what is written.
// The front end of Google's services ends connections after about an hour: have
// pools replace theirs after 30 to 45 minutes (SetConnMaxLifetime).
//
// For IAM login the service is asked to log in the account of the access token;
// login tokens are not used. How to ask is not documented by Google. The token
// needs the scope sqlservice.admin or cloud-platform, and has to come from the
// Dialer's credentials: with a [WithHTTPClient] that authorises calls itself there
// is no SQL Data (ErrConfig). The TLS configuration of that client is used if its
// transport is an *http.Transport; it cannot be seen through a transport that wraps
// another, and the system's roots are used then.
//
// TCP connections to the service are opened as those to instances are, with
// [WithDialFunc] and [WithProxy]; with neither, through the proxy that
// HTTPS_PROXY and NO_PROXY name. Streams share them, up to 50 at a time, if their
// Dials have the same values of these options: the same option value for
// WithDialFunc, the same URL for a proxy. A WithDialFunc that is created anew for
// each Dial costs an HTTP/2 connection each time.
func WithSQLData(mode SQLDataMode) DialOption {
	return dialOption(func(d *dialConfig) {
		d.sqlData, d.carrier = mode, nil
		if mode != SQLDataNever {
			d.carrier = sqlDataCarrier{}
		}
	})
}

// WithSQLDataEndpoint sets where SQL Data is: a host, host:port, or a URL such as
// https://sqladmin.googleapis.com. A URL with the scheme http means no TLS, for
// tests. The default port is 443. Default: the host of the Admin API, see
// [WithAdminAPIEndpoint] and [WithUniverseDomain]. It has no effect on Dials without
// [WithSQLData].
func WithSQLDataEndpoint(endpoint string) Option {
	return option(func(c *config) {
		var err error
		c.sqlData, err = sqldata.ParseEndpoint(endpoint)
		c.errs.note(err != nil, "WithSQLDataEndpoint: %w", err)
	})
}

// serviceEndpoint is where SQL Data is: on the host of the Admin API, if nothing
// else is said.
func (c *config) serviceEndpoint() sqldata.Endpoint {
	if c.sqlData.Host != "" {
		return c.sqlData
	}
	return c.caller.APIAddr()
}
