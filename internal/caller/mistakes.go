package caller

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
)

// endpointMistakes returns how what options say about the API is contradictory, before
// it is completed. An endpoint in the universe can be one for Private Service
// Connect.
func (c *Caller) endpointMistakes() []error {
	u, err := url.Parse(c.Endpoint)
	if c.Endpoint == "" || c.Universe == "" || err != nil || strings.HasSuffix(strings.ToLower(u.Hostname()), "."+strings.ToLower(c.Universe)) {
		return nil
	}
	return []error{fmt.Errorf("WithAdminAPIEndpoint and WithUniverseDomain: the endpoint is not in the universe %s; want one of them, or an endpoint there", failure.Quote(c.Universe))}
}

// Mistakes returns what is wrong with a Caller that is complete. iam and sqlData say
// whether one logs in with IAM, and uses SQL Data. The errors name the options.
func (c *Caller) Mistakes(iam, sqlData bool) (errs []error) {
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	exclusive := slices.Clone(c.Sources)
	if c.Target != "" && slices.Contains(exclusive, TwoSources) { // whose login tokens would go unused
		exclusive = append(exclusive, "WithImpersonation")
	}
	if len(exclusive) > 1 {
		mistake("%s: want one of them", strings.Join(exclusive, " and "))
	}
	if auth.LooksLikeJSON(c.File) {
		mistake("WithCredentialsFile: %w", auth.ErrJSON)
	}
	if c.JSON != nil {
		if err := auth.CheckJSON(c.JSON); err != nil {
			mistake("WithCredentialsJSON: %w", err)
		}
	}
	for _, account := range append([]string{c.Target}, c.Delegates...) {
		odd := func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r > '~' }
		if i := strings.IndexFunc(account, odd); i >= 0 {
			mistake("WithImpersonation: want e-mails of service accounts, got a text of %d bytes with %q in it", len(account), account[i])
		}
	}
	if slices.Contains(c.Delegates, "") {
		mistake("WithImpersonation: a delegate is empty")
	}
	if iam && c.Target == "" {
		const reason = "it makes no login token, which needs the scope sqlservice.login; use WithIAMAuthNTokenSources or WithImpersonation"
		switch {
		case c.API != nil && c.Login == nil:
			mistake("WithIAMAuthN with WithTokenSource: %s", reason)
		case c.authorisesItself():
			mistake("WithIAMAuthN with WithHTTPClient: %s", reason)
		}
	}
	if sqlData && c.authorisesItself() {
		mistake("WithSQLData with WithHTTPClient: it needs an access token, which that client keeps to itself; say with WithTokenSource, WithCredentialsFile or WithCredentialsJSON which credentials to use")
	}
	if u, err := url.Parse("https://" + c.Universe); err != nil || u.Host != c.Universe || !strings.Contains(u.Hostname(), ".") || u.Port() != "" {
		mistake("WithUniverseDomain, GOOGLE_CLOUD_UNIVERSE_DOMAIN: want a domain such as %s, got %s", auth.DefaultUniverse, failure.Quote(c.Universe))
	} else if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		errs = append(errs, errors.New("WithAdminAPIEndpoint: want a URL such as https://sqladmin.googleapis.com"))
	}
	if c.emulated && !isLoopback(strings.TrimPrefix(c.Endpoint, "http://")) {
		errs = append(errs, &EmulatorHostError{os.Getenv(emulatorVariable)})
	}
	if strings.ContainsAny(c.QuotaProject, "\r\n") {
		errs = append(errs, errors.New("WithQuotaProject, GOOGLE_CLOUD_QUOTA_PROJECT: want one line"))
	}
	return errs
}

// isLoopback reports whether addr is a host of this machine, and a port.
func isLoopback(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if _, notNumber := strconv.ParseUint(port, 10, 16); err != nil || notNumber != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// EmulatorHostError says that the variable of the environment that names an emulator
// does not have the form of an address on this machine.
type EmulatorHostError struct{ given string }

// Error tells the variable, what it should be and what it is.
func (e *EmulatorHostError) Error() string {
	return fmt.Sprintf("%s: want the address of an emulator on this machine, such as 127.0.0.1:13307, got %s; for others there is WithAdminAPIEndpoint", emulatorVariable, failure.Quote(e.given))
}
