package sqldata

import (
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// Exhausted reports whether SQL Data wants to be left alone. e can be nil.
func (e *StatusError) Exhausted() bool { return e != nil && e.Code == codes.ResourceExhausted }

// Lost reports whether a stream has failed in a way that says nothing about the
// next one: the connection to the service has broken, or the service has lost
// the instance.
func (e *StatusError) Lost() bool {
	switch e.Code {
	case codes.Unavailable, codes.Aborted, codes.Unknown, codes.Canceled:
		return true
	case codes.Internal:
		return e.Reason != wire.ReconnectFailed
	}
	return false
}

// Middlebox reports whether what answers does not speak HTTP/2. gRPC tells that
// in the text only.
func (e *StatusError) Middlebox() bool {
	return e.Code == codes.Unavailable && (strings.Contains(e.Message, "ALPN") || strings.Contains(e.Message, "server preface") || strings.Contains(e.Message, "malformed header"))
}
