package cloudsqlconn

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
)

// credentials is what a Dialer is told about who it is, and about the API that
// it calls as that.
type credentials struct {
	sources    []string // the options that said who, each once
	api, login oauth2.TokenSource
	file       string
	json       []byte
	target     string
	delegates  []string

	endpoint     string
	emulated     bool // endpoint is that of the environment's emulator
	httpClient   *http.Client
	quotaProject string
	universe     string
}

// emulatorVariable names the address of an emulated Admin API: see
// [WithAdminAPIEndpoint].
const emulatorVariable = "CLOUDSQLCONN_EMULATOR_HOST"

// isLoopback reports whether addr is a host of this machine, and a port.
func isLoopback(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if _, notNumber := strconv.ParseUint(port, 10, 16); err != nil || notNumber != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// from notes that an option said who the caller is.
func (c *credentials) from(option string) {
	if !slices.Contains(c.sources, option) {
		c.sources = append(c.sources, option)
	}
}

// endpointFaults returns how what options say about the API is contradictory, before
// it is completed. An endpoint in the universe can be one for Private Service
// Connect.
func (c *credentials) endpointFaults() []error {
	u, err := url.Parse(c.endpoint)
	if c.endpoint == "" || c.universe == "" || err != nil || strings.HasSuffix(strings.ToLower(u.Hostname()), "."+strings.ToLower(c.universe)) {
		return nil
	}
	return []error{fmt.Errorf("WithAdminAPIEndpoint and WithUniverseDomain: the endpoint is not in the universe %s; want one of them, or an endpoint there", failure.Quote(c.universe))}
}

// completeCredentials fills in what the environment says, and the defaults.
func (c *credentials) completeCredentials() {
	c.quotaProject = cmp.Or(c.quotaProject, os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT"))
	c.universe = cmp.Or(c.universe, os.Getenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN"), auth.DefaultUniverse)
	if host := os.Getenv(emulatorVariable); host != "" && c.endpoint == "" {
		c.endpoint, c.emulated = "http://"+host, true
	}
	if c.endpoint == "" {
		c.endpoint = "https://sqladmin." + c.universe + "/"
	}
}

// authorisesItself reports whether the HTTP client adds tokens of its own.
func (c *credentials) authorisesItself() bool {
	return c.target == "" && len(c.sources) == 0 && c.httpClient != nil
}

// credentialFaults returns what is wrong once they are complete. iam and sqlData say
// whether Dials log in with IAM, and use SQL Data, by default.
func (c *credentials) credentialFaults(iam, sqlData bool) (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	exclusive := slices.Clone(c.sources)
	if c.target != "" && slices.Contains(exclusive, withTwoSources) { // whose login tokens would go unused
		exclusive = append(exclusive, "WithImpersonation")
	}
	if len(exclusive) > 1 {
		fault("%s: want one of them", strings.Join(exclusive, " and "))
	}
	if auth.LooksLikeJSON(c.file) {
		fault("WithCredentialsFile: %w", auth.ErrJSON)
	}
	if c.json != nil {
		if err := auth.CheckJSON(c.json); err != nil {
			fault("WithCredentialsJSON: %w", err)
		}
	}
	for _, account := range append([]string{c.target}, c.delegates...) {
		odd := func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r > '~' }
		if i := strings.IndexFunc(account, odd); i >= 0 {
			fault("WithImpersonation: want e-mails of service accounts, got a text of %d bytes with %q in it", len(account), account[i])
		}
	}
	if slices.Contains(c.delegates, "") {
		fault("WithImpersonation: a delegate is empty")
	}
	if iam && c.target == "" {
		const reason = "it makes no login token, which needs the scope sqlservice.login; use WithIAMAuthNTokenSources or WithImpersonation"
		switch {
		case c.api != nil && c.login == nil:
			fault("WithIAMAuthN with WithTokenSource: %s", reason)
		case c.authorisesItself():
			fault("WithIAMAuthN with WithHTTPClient: %s", reason)
		}
	}
	if sqlData && c.authorisesItself() {
		fault("WithSQLData with WithHTTPClient: it needs an access token, which that client keeps to itself; say with WithTokenSource, WithCredentialsFile or WithCredentialsJSON which credentials to use")
	}
	if u, err := url.Parse("https://" + c.universe); err != nil || u.Host != c.universe || !strings.Contains(u.Hostname(), ".") || u.Port() != "" {
		fault("WithUniverseDomain, GOOGLE_CLOUD_UNIVERSE_DOMAIN: want a domain such as %s, got %s", auth.DefaultUniverse, failure.Quote(c.universe))
	} else if u, err := url.Parse(c.endpoint); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		errs = append(errs, errors.New("WithAdminAPIEndpoint: want a URL such as https://sqladmin.googleapis.com"))
	}
	if c.emulated && !isLoopback(strings.TrimPrefix(c.endpoint, "http://")) {
		fault("%s: want the address of an emulator on this machine, such as 127.0.0.1:13307, got %s; for others there is WithAdminAPIEndpoint", emulatorVariable, failure.Quote(os.Getenv(emulatorVariable)))
	}
	if strings.ContainsAny(c.quotaProject, "\r\n") {
		errs = append(errs, errors.New("WithQuotaProject, GOOGLE_CLOUD_QUOTA_PROJECT: want one line"))
	}
	return errs
}

// tokenSources returns what makes the tokens of Admin API calls and those for
// IAM login. Nil: the HTTP client authorises calls by itself; and nothing makes
// login tokens. creds is nil if they come from elsewhere. hedged is told of each
// of their calls that is made a second time.
func (c *credentials) tokenSources(hedged func(call string)) (api, login oauth2.TokenSource, creds *auth.Credentials) {
	if c.target == "" {
		switch {
		case c.api != nil:
			return c.api, c.login, nil
		case c.authorisesItself():
			return nil, nil, nil
		}
	}
	creds = auth.New(auth.Config{
		File:       c.file,
		JSON:       c.json,
		Base:       c.api,
		Target:     c.target,
		Delegates:  c.delegates,
		Universe:   c.universe,
		HTTPClient: c.httpClient,
		Hedged:     hedged,

		MachineOnly: c.emulated,
	})
	return creds.Admin(), creds.Login(), creds
}
