package cloudsqlconn

import (
	"errors"
	"net/http"

	"golang.org/x/oauth2"
)

// WithTokenSource sets the source of the tokens that authorise Admin API
// calls. Default: Application Default Credentials, looked up at the first
// Dial. The tokens need the scope sqlservice.admin or cloud-platform.
func WithTokenSource(api oauth2.TokenSource) Option {
	return option(func(c *config) {
		c.twoSources = c.twoSources || c.login != nil
		c.api = api
		if api == nil {
			c.errs = append(c.errs, errors.New("WithTokenSource: the token source is nil"))
		}
	})
}

// WithIAMAuthNTokenSources sets two sources: of the tokens that authorise
// Admin API calls, and of those that log in to the database. The latter should
// have the scope sqlservice.login and no other, since they travel inside
// certificates.
func WithIAMAuthNTokenSources(api, login oauth2.TokenSource) Option {
	return option(func(c *config) {
		c.twoSources = c.twoSources || (c.api != nil && c.login == nil)
		c.api, c.login = api, login
		if api == nil || login == nil {
			c.errs = append(c.errs, errors.New("WithIAMAuthNTokenSources: a token source is nil"))
		}
	})
}

// WithAdminAPIEndpoint sets the root URL of the SQL Admin API. Default:
// https://sqladmin.googleapis.com.
func WithAdminAPIEndpoint(url string) Option {
	return option(func(c *config) { c.endpoint = url })
}

// WithHTTPClient sets the client that carries Admin API calls. Unless a token
// source is set too, it must authorise them by itself, and there is no IAM
// login.
func WithHTTPClient(client *http.Client) Option {
	return option(func(c *config) {
		c.httpClient = client
		if client == nil {
			c.errs = append(c.errs, errors.New("WithHTTPClient: the client is nil"))
		}
	})
}

// WithQuotaProject sets the project that Admin API calls are counted for. The
// caller needs serviceusage.services.use there. Default: none is named, and the
// calls count for the project that the credentials belong to.
func WithQuotaProject(project string) Option {
	return option(func(c *config) { c.quotaProject = project })
}

// WithUserAgent adds a word to the User-Agent of Admin API calls. Given more
// than once, all of them are sent.
func WithUserAgent(ua string) Option {
	return option(func(c *config) { c.userAgent += " " + ua })
}
