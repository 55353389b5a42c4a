package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// LookupError says that a domain name does not lead to an instance, and what
// was tried.
type LookupError struct {
	Domain string

	tried []string
	errs  []error
}

// Error tells what was tried, in order, in one line.
func (e *LookupError) Error() string {
	const most = 2000 // a long chain has a lot to tell
	return answer.Cut(fmt.Sprintf("%s does not lead to an instance: %s", e.Domain, strings.Join(e.tried, "; ")), most)
}

// Unwrap returns the errors of DNS.
func (e *LookupError) Unwrap() []error { return e.errs }

// Temporary reports whether DNS may answer otherwise in a moment: a question
// was not answered, or with a failure of the server. Otherwise the records are
// wrong, or there are none.
func (e *LookupError) Temporary() bool {
	for _, err := range e.errs {
		if temporary(err) {
			return true
		}
	}
	return false
}

// clone returns a copy that does not change.
func (e *LookupError) clone() *LookupError {
	return &LookupError{Domain: e.Domain, tried: slices.Clone(e.tried), errs: slices.Clone(e.errs)}
}

func (e *LookupError) add(err error, format string, args ...any) {
	e.tried = append(e.tried, fmt.Sprintf(format, args...))
	if err != nil {
		e.errs = append(e.errs, err)
	}
}

// notFound reports whether err says that there is no such record.
func notFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// temporary reports whether another try can bring another answer. What an
// application's resolver returns may be no *net.DNSError.
func temporary(err error) bool {
	var (
		api    *refresh.Failure
		lookup *LookupError
		dns    *net.DNSError
		op     *net.OpError
		clear  interface{ Temporary() bool }
		slow   interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &api):
		return false // the cache has tried as long as it makes sense
	case errors.As(err, &lookup):
		return lookup.Temporary()
	case errors.As(err, &dns):
		return dns.IsTimeout || dns.IsTemporary || errors.Is(err, context.DeadlineExceeded)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &op):
		return true
	case errors.As(err, &clear) && clear.Temporary():
		return true
	}
	return errors.As(err, &slow) && slow.Timeout()
}

// shortError is the text of an error, in one line and not too long: some of it
// may come from a server.
func shortError(err error) string {
	const most = 300
	return answer.OneLine(err.Error(), most)
}
