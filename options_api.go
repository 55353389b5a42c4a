package cloudsqlconn

import (
	"net/http"
	"slices"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/caller"
)

// WithTokenSource sets the source of the tokens that authorise Admin API
// calls. Default: Application Default Credentials, looked up at the first
// Dial. The tokens need the scope sqlservice.admin or cloud-platform.
//
// The source is asked for each call to the API, by one goroutine at a time; one
// that fetches new tokens should be wrapped in an [oauth2.ReuseTokenSource]. No
// caller waits for it beyond the end of their context, but nothing can end a call
// that hangs: it occupies one goroutine, and unlike a call to a server it is not
// made a second time alongside the first. An empty or expired token is not sent: the
// source is asked once more, and if that gives nothing better, it is left alone for
// five seconds, during which Dials that need it fail with [ErrPermission].
//
// There is no IAM login, since these tokens do not belong in certificates:
// see [WithIAMAuthNTokenSources], and [WithImpersonation], which gets both kinds
// of token from one source.
func WithTokenSource(api oauth2.TokenSource) Option {
	return option(func(c *config) {
		c.caller.From("WithTokenSource")
		c.caller.API, c.caller.Login = api, nil
		c.errs.note(api == nil, "WithTokenSource: the token source is nil")
	})
}

// WithIAMAuthNTokenSources sets two sources: one of the tokens that authorise
// Admin API calls, and one of those that log in to the database. The latter should
// have the scope sqlservice.login and no other, since they travel inside
// certificates. Both are used as described at [WithTokenSource], the latter for
// each certificate.
func WithIAMAuthNTokenSources(api, login oauth2.TokenSource) Option {
	return option(func(c *config) {
		c.caller.From(caller.TwoSources)
		c.caller.API, c.caller.Login = api, login
		c.errs.note(api == nil || login == nil, "WithIAMAuthNTokenSources: a token source is nil")
	})
}

// WithCredentialsFile replaces Application Default Credentials with a file such as
// GOOGLE_APPLICATION_CREDENTIALS would name. NewDialer refuses JSON in place of a
// path. The file is read at the first Dial, which fails with ErrPermission if it
// cannot be used. It is read again after its credentials, or a token obtained with
// them, have been refused, so that it can be replaced; if it has disappeared or is
// not valid, its previous content stays in use. See [WithCredentialsJSON] for what
// it may contain.
func WithCredentialsFile(name string) Option {
	return option(func(c *config) {
		c.caller.From("WithCredentialsFile")
		c.caller.File = name
		c.errs.note(name == "", "WithCredentialsFile: the name is empty")
	})
}

// WithCredentialsJSON sets the content of a credentials file: a service
// account's key, a user's credentials (what `gcloud auth application-default
// login` writes), an external account (workload identity federation), a user of a
// workforce pool (external_account_authorized_user), or an impersonated service
// account. NewDialer refuses anything else.
//
// All of them are trusted. An external account says which file is read, or which
// program is run, on this machine, and to which servers the result is sent: do not
// use one from somebody else that you have not checked. See
// https://cloud.google.com/docs/authentication/external/externally-sourced-credentials.
//
// IAM login works with all of them. The token that it puts into the certificate has
// the scope sqlservice.login and no other, except with credentials of users of workforce
// pools: theirs has the scope cloud-platform and cannot
// be narrowed, unless [WithImpersonation] is added.
//
// An external account that authenticates with an X.509 certificate is refused. One
// that runs a program needs the environment variable
// GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1.
func WithCredentialsJSON(text []byte) Option {
	text = slices.Clone(text)
	return option(func(c *config) {
		c.caller.From("WithCredentialsJSON")
		c.caller.JSON = text
		c.errs.note(len(text) == 0, "WithCredentialsJSON: the JSON is empty")
	})
}

// WithImpersonation makes the Dialer act as the service account target, named
// by its e-mail address. The credentials that the Dialer would otherwise use need
// the role Service Account Token Creator (roles/iam.serviceAccountTokenCreator) on
// target; with delegates, they need it on the first of these, which needs it on the
// next, and so on, and the last on target. The tokens of [WithTokenSource] need the
// scope cloud-platform for that. It is an error with [WithIAMAuthNTokenSources].
//
// It is then target that needs the role Cloud SQL Client, and that IAM login
// logs in as. The quota project of the other credentials applies to the
// impersonation only.
func WithImpersonation(target string, delegates ...string) Option {
	delegates = slices.Clone(delegates)
	return option(func(c *config) {
		c.caller.Target, c.caller.Delegates = target, delegates
		c.errs.note(target == "", "WithImpersonation: the target is empty")
	})
}

// WithAdminAPIEndpoint sets the root URL of the SQL Admin API. Default:
// https://sqladmin.googleapis.com, or its counterpart in the universe of
// [WithUniverseDomain].
//
// Without it, the environment variable CLOUDSQLCONN_EMULATOR_HOST can name the
// host and port of an emulator, such as that of cmd/cloudsql-emulator, to which
// calls then go in clear text. As whoever answers them says which server is to
// be trusted, it must be on loopback. Application Default Credentials are then
// those of the metadata server that GCE_METADATA_HOST names, on loopback too, never
// those of a file or of a real machine: no real credentials get to an emulator.
// Options that set credentials apply as always. If nothing listens there, a Dial
// fails after some 2 s, in which an emulator may start, and a little later if nothing
// listens at GCE_METADATA_HOST either.
func WithAdminAPIEndpoint(url string) Option {
	return option(func(c *config) {
		c.caller.Endpoint = url
		c.errs.note(url == "", "WithAdminAPIEndpoint: the URL is empty")
	})
}

// WithHTTPClient sets the client that makes Admin API calls. Without an option
// that sets credentials, client must authorise them itself, and there is no IAM
// login. With [WithCredentialsFile], [WithCredentialsJSON] or [WithImpersonation]
// it must not, and it makes the calls that get tokens too, except those to the
// metadata server. A token source of the caller's has a client of its own. Its
// CheckRedirect is not asked: redirects of what carries secrets are not followed.
//
// A call that takes longer than usual to be answered (1.5 s until some have been
// timed, then twice what they take, but at least 0.5 s) is made a second time
// alongside the first. Without this option, the second goes over another connection;
// client is used for both as it is. With HTTP/2 they can share a connection, and
// both hang if it is dead, unless its transport notices: see [http.HTTP2Config],
// SendPingTimeout.
func WithHTTPClient(client *http.Client) Option {
	return option(func(c *config) {
		c.caller.HTTPClient = client
		c.errs.note(client == nil, "WithHTTPClient: the client is nil")
	})
}

// WithQuotaProject sets the project whose quota Admin API calls, and the streams of
// SQL Data, count against. The caller needs serviceusage.services.use there.
// Default: the environment variable GOOGLE_CLOUD_QUOTA_PROJECT, as it is when
// NewDialer is called; otherwise the project that the credentials file names
// (`gcloud auth application-default set-quota-project`); otherwise none is named,
// and the calls count against the project that the credentials belong to.
func WithQuotaProject(project string) Option {
	return option(func(c *config) {
		c.caller.QuotaProject = project
		c.errs.note(project == "", "WithQuotaProject: the project is empty")
	})
}

// WithUniverseDomain sets the domain of the cloud that the instances are in.
// Default: the environment variable GOOGLE_CLOUD_UNIVERSE_DOMAIN, as it is when
// NewDialer is called; otherwise googleapis.com, the public cloud. With credentials
// that belong to another universe, Dial fails with ErrConfig before anything is
// sent; a caller's own token source cannot be checked. With [WithAdminAPIEndpoint]
// it is an error, unless the endpoint's host is in the domain.
func WithUniverseDomain(domain string) Option {
	return option(func(c *config) {
		c.caller.Universe = domain
		c.errs.note(domain == "", "WithUniverseDomain: the domain is empty")
	})
}

// WithUserAgent adds a word to the User-Agent of Admin API calls and of SQL Data
// streams. If it is given more than once, all the words are sent.
func WithUserAgent(ua string) Option {
	return option(func(c *config) {
		c.userAgent += " " + ua
		c.errs.note(ua == "", "WithUserAgent: the word is empty")
	})
}
