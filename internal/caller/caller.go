// Package caller says who a Dialer is, and which Admin API it calls as that: what its
// options say, completed by the environment and checked. It knows nothing of how tokens
// are made, and of what the API is asked.
package caller

import (
	"cmp"
	"net/http"
	"net/url"
	"os"
	"slices"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// Caller is what the options say. The zero value is Application Default Credentials,
// and the API of the public cloud. Whoever sets it notes that with From; it is not to be
// used before Complete.
type Caller struct {
	Sources    []string           // the options that said who, each once
	API, Login oauth2.TokenSource // the program's own; nil: none
	File       string             // of credentials; "": none
	JSON       []byte             // the content of such a file; nil: none
	Target     string             // e-mail of the service account to impersonate; "": none
	Delegates  []string           // e-mails of those between the credentials and Target

	Endpoint     string       // URL of the Admin API
	HTTPClient   *http.Client // that makes calls; nil: one of the library's
	QuotaProject string       // that calls count against; "": that of the credentials
	Universe     string       // domain of the cloud

	emulated bool // Endpoint is that of the environment's emulator
}

// TwoSources is the option that sets API and Login.
const TwoSources = "WithIAMAuthNTokenSources"

// emulatorVariable names the address of an emulated Admin API.
const emulatorVariable = "CLOUDSQLCONN_EMULATOR_HOST"

// From notes that an option said who the caller is.
func (c *Caller) From(option string) {
	if !slices.Contains(c.Sources, option) {
		c.Sources = append(c.Sources, option)
	}
}

// Complete fills in what the environment says, and the defaults. It returns in what way
// the options contradict each other about the API; [Caller.Mistakes] has the rest.
func (c *Caller) Complete() []error {
	errs := c.endpointMistakes()
	c.QuotaProject = cmp.Or(c.QuotaProject, os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT"))
	c.Universe = cmp.Or(c.Universe, os.Getenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN"), auth.DefaultUniverse)
	if host := os.Getenv(emulatorVariable); host != "" && c.Endpoint == "" {
		c.Endpoint, c.emulated = "http://"+host, true
	}
	if c.Endpoint == "" {
		c.Endpoint = "https://sqladmin." + c.Universe + "/"
	}
	return errs
}

// Tokens returns what makes the tokens of Admin API calls and those for IAM login. Nil:
// the HTTP client authorises calls by itself; and nothing makes login tokens. creds is
// nil if they come from elsewhere. hedged is told of each of their calls that is made a
// second time.
func (c *Caller) Tokens(hedged func(call string)) (api, login oauth2.TokenSource, creds *auth.Credentials) {
	if c.Target == "" {
		switch {
		case c.API != nil:
			return c.API, c.Login, nil
		case c.authorisesItself():
			return nil, nil, nil
		}
	}
	creds = auth.New(auth.Config{
		File:       c.File,
		JSON:       c.JSON,
		Base:       c.API,
		Target:     c.Target,
		Delegates:  c.Delegates,
		Universe:   c.Universe,
		HTTPClient: c.HTTPClient,
		Hedged:     hedged,

		MachineOnly: c.emulated,
	})
	return creds.Admin(), creds.Login(), creds
}

// authorisesItself reports whether the HTTP client adds tokens of its own.
func (c *Caller) authorisesItself() bool {
	return c.Target == "" && len(c.Sources) == 0 && c.HTTPClient != nil
}

// Emulated reports whether the API is that of the emulator that the environment names.
func (c *Caller) Emulated() bool { return c.emulated }

// APIAddr is where the Admin API is.
func (c *Caller) APIAddr() sqldata.Endpoint {
	u, err := url.Parse(c.Endpoint)
	if err != nil { // it has been checked
		return sqldata.Endpoint{}
	}
	return sqldata.EndpointOf(u)
}
