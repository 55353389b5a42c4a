// Package clients installs the clients that Google publishes for Cloud SQL,
// starts them, and has them connect:
//
//   - cloud.google.com/go/cloudsqlconn, in this process: [GoPgx], [GoMySQL],
//     [GoMSSQL]; and [GoSQLData] in another one
//   - the Cloud SQL Auth Proxy: [Psql], [MariaDB], and [StartAuthProxy] alone
//   - programs in other languages, which do what a [Request] says: [Node],
//     [Python], [PythonSQLData], [Java]
//
// The first use of a client installs it into the user's cache folder, which
// takes minutes. What is missing for that is [exec.ErrNotFound], with what to
// install. Programs end with their [Session], or at the latest with this process.
package clients

import (
	"context"
	"errors"
)

// Target is an instance, and how a client is to reach it.
type Target struct {
	Endpoint string `json:"endpoint"` // the URL of the Admin API
	Instance string `json:"instance"`

	// Names of files. Not every client takes a workload identity whose tokens come
	// from loopback.
	Credentials string `json:"credentials"` // a workload identity: Go, the Auth Proxy, Node
	Account     string `json:"account"`     // the key of a service account: Python, Java

	IAM     bool `json:"iam"`
	Private bool `json:"isPrivate"`
	Lazy    bool `json:"lazy"`

	User     string `json:"user"`
	Password string `json:"password"`
	Database string `json:"database"`

	SQLData   string `json:"sqlData"` // host:port of SQL Data; "": by an address
	SQLDataCA string `json:"-"`       // the file that has its CA
}

// Session is a client's connector and one instance. Its methods are safe for
// concurrent use.
type Session struct {
	connect func(context.Context) (string, error)
	close   func() error
	log     func() string
}

// Connect makes a new connection and returns the database's name for who has
// logged in.
func (s *Session) Connect(ctx context.Context) (user string, err error) { return s.connect(ctx) }

// Close closes the connector, and ends the programs that serve it alone.
func (s *Session) Close() error { return s.close() }

// Log returns the end of what the client's programs have written, "" if it has
// none. Programs that serve several sessions write for all of them.
func (s *Session) Log() string { return s.log() }

// Open starts a client.
type Open func(context.Context, Target) (*Session, error)

// Close ends the programs that serve several sessions. None may be used after
// it.
func Close() error {
	var errs []error
	for _, s := range shared {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
