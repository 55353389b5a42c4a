package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/google/externalaccount"
)

// credentialsFile is what is read of a credentials file. Its form is Google's:
// https://google.aip.dev/auth/4110 and the pages that it leads to.
type credentialsFile struct {
	Type           google.CredentialsType `json:"type"`
	UniverseDomain string                 `json:"universe_domain"`
	QuotaProjectID string                 `json:"quota_project_id"`

	// user credentials
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	RefreshToken string `json:"refresh_token"`
	TokenURI     string `json:"token_uri"`

	// external account
	Audience                 string            `json:"audience"`
	SubjectTokenType         string            `json:"subject_token_type"`
	TokenURL                 string            `json:"token_url"`
	CredentialSource         *credentialSource `json:"credential_source"`
	WorkforcePoolUserProject string            `json:"workforce_pool_user_project"`
	ImpersonationLife        struct {
		Seconds int `json:"token_lifetime_seconds"`
	} `json:"service_account_impersonation"`

	// impersonated service account, and external account
	ImpersonationURL  string          `json:"service_account_impersonation_url"`
	Delegates         []string        `json:"delegates"`
	SourceCredentials json.RawMessage `json:"source_credentials"`

	// an OAuth client, which is no credentials but looks like them
	Web       json.RawMessage `json:"web"`
	Installed json.RawMessage `json:"installed"`
}

// byteOrderMark is what editors of Windows begin a file with.
const byteOrderMark = "\ufeff"

// typeForm is that of all types of credentials. What a file has instead is not
// shown.
var typeForm = regexp.MustCompile(`^[a-z][a-z_]{0,49}$`)

var (
	errNotJSON      = errors.New("want the JSON of a credentials file")
	errClient       = errors.New("this is an OAuth client, which has no identity; run `gcloud auth application-default login --client-id-file` with it")
	errUser         = errors.New(`"client_id", "client_secret" or "refresh_token" is missing`)
	errKey          = errors.New(`"client_email" or "private_key" is missing`)
	errSource       = errors.New(`"credential_source" is missing`)
	errX509         = errors.New("the subject token is to be proven with an X.509 certificate (credential_source.certificate), which this library cannot do; use another credential_source, or WithTokenSource with credentials of cloud.google.com/go/auth")
	errImpersonated = errors.New(`"source_credentials" or a good "service_account_impersonation_url" is missing`)
)

// CheckJSON returns what is wrong with the content of a credentials file, as
// far as that can be seen without using it. The error shows nothing of it.
func CheckJSON(raw []byte) error {
	_, err := parse(raw)
	return err
}

// parse returns the credentials that a file contains. Its errors show nothing
// of that. What such credentials send is told apart, and its secrets are hidden, in
// exchange.go.
func parse(raw []byte) (*identity, error) {
	raw = bytes.TrimPrefix(raw, []byte(byteOrderMark))
	var f credentialsFile
	if json.Unmarshal(raw, &f) != nil {
		return nil, errNotJSON
	}
	if f.Web != nil || f.Installed != nil {
		return nil, errClient
	}
	id := &identity{kind: string(f.Type), universe: f.UniverseDomain, quotaProject: f.QuotaProjectID}
	if id.universe == "" || f.Type == google.AuthorizedUser { // users exist there only
		id.universe = DefaultUniverse
	}
	var err error
	switch f.Type {
	case google.ServiceAccount:
		err = f.serviceAccount(id, raw)
	case google.AuthorizedUser:
		err = f.user(id)
	case google.ExternalAccount:
		err = f.externalAccount(id)
	case google.ExternalAccountAuthorizedUser:
		err = f.externalUser(id, raw)
	case google.ImpersonatedServiceAccount:
		return f.impersonated(id)
	default:
		err = unknownType(id.kind)
	}
	if err != nil {
		return nil, err
	}
	return id, nil
}

func unknownType(kind string) error {
	which := `"type"`
	if typeForm.MatchString(kind) {
		which = fmt.Sprintf("the type %q", kind)
	}
	return fmt.Errorf("%s is not one of service_account, authorized_user, external_account, external_account_authorized_user, impersonated_service_account", which)
}

func (f *credentialsFile) serviceAccount(id *identity, raw []byte) error {
	cfg, err := google.JWTConfigFromJSON(raw)
	if err != nil || cfg.Email == "" || len(cfg.PrivateKey) == 0 {
		return errKey
	}
	id.belongsTo(cfg.Email)
	id.token = func(ctx context.Context, scope string) (*oauth2.Token, error) {
		return exchange(ctx, func(ctx context.Context) (*oauth2.Token, error) {
			// Other universes have no token endpoint: services take what the key
			// has signed.
			if id.universe != DefaultUniverse {
				ts, err := google.JWTAccessTokenSourceWithScope(raw, scope)
				if err != nil {
					return nil, err
				}
				return ts.Token()
			}
			cfg := *cfg
			cfg.Scopes = []string{scope}
			return cfg.TokenSource(ctx).Token()
		})
	}
	return nil
}

// user is for what `gcloud auth application-default login` writes.
func (f *credentialsFile) user(id *identity) error {
	if f.ClientID == "" || f.ClientSecret == "" || f.RefreshToken == "" {
		return errUser
	}
	cfg := clientcredentials.Config{
		ClientID:     f.ClientID,
		ClientSecret: f.ClientSecret,
		TokenURL:     f.TokenURI,
		AuthStyle:    oauth2.AuthStyleInParams,
		// oauth2.Config refreshes too, but with all scopes that the user has
		// granted: it cannot ask for fewer.
		EndpointParams: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {f.RefreshToken}},
	}
	if cfg.TokenURL == "" {
		cfg.TokenURL = google.Endpoint.TokenURL
	}
	id.token = func(ctx context.Context, scope string) (*oauth2.Token, error) {
		return exchange(ctx, func(ctx context.Context) (*oauth2.Token, error) {
			cfg := clientcredentials.Config{
				ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret, TokenURL: cfg.TokenURL,
				AuthStyle: cfg.AuthStyle, EndpointParams: cfg.EndpointParams,
			}
			// A scope that the user has not granted is refused. gcloud asks for
			// cloud-platform and sqlservice.login.
			if scope == loginScope {
				cfg.Scopes = []string{scope}
			}
			return cfg.Token(ctx)
		})
	}
	return nil
}

// credentialSource is where a subject token comes from.
type credentialSource struct {
	externalaccount.CredentialSource
	Certificate json.RawMessage `json:"certificate"`
}

// ErrExecutables says that the subject token comes from a program that may not be
// run.
var ErrExecutables = errors.New("the program in credential_source may not be run: GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is not 1")

// ErrSubjectFile says that the file of the subject token cannot be read.
var ErrSubjectFile = errors.New("no subject token")

// explain returns err, the error of an exchange, or what says better why there is
// no subject token.
func (s *credentialSource) explain(err error) error {
	if _, unsent := errors.AsType[*NotFoundError](err); !unsent {
		return err
	}
	switch {
	case s.Executable != nil && os.Getenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") != "1":
		return &NotFoundError{Err: ErrExecutables}
	case s.File != "":
		if _, unread := read(s.File); unread != nil {
			return &NotFoundError{Err: fmt.Errorf("%w: %w", ErrSubjectFile, withoutPath(unread, LooksLikePath(s.File)))}
		}
	}
	return err
}

func (f *credentialsFile) externalAccount(id *identity) error {
	source := f.CredentialSource
	if source == nil {
		return errSource
	}
	if source.Certificate != nil {
		return errX509
	}
	cfg := externalaccount.Config{
		Audience:                       f.Audience,
		SubjectTokenType:               f.SubjectTokenType,
		TokenURL:                       f.TokenURL,
		ServiceAccountImpersonationURL: f.ImpersonationURL,
		ServiceAccountImpersonationLifetimeSeconds: f.ImpersonationLife.Seconds,
		ClientID:                 f.ClientID,
		ClientSecret:             f.ClientSecret,
		CredentialSource:         &source.CredentialSource,
		WorkforcePoolUserProject: f.WorkforcePoolUserProject,
		UniverseDomain:           id.universe,
	}
	if _, err := externalaccount.NewTokenSource(context.Background(), cfg); err != nil {
		return err // names a field, and no value
	}
	if imp, ok := parseImpersonationURL(f.ImpersonationURL); ok {
		id.belongsTo(imp.email())
	}
	id.token = func(ctx context.Context, scope string) (*oauth2.Token, error) {
		tok, err := exchange(ctx, func(ctx context.Context) (*oauth2.Token, error) {
			cfg := cfg
			cfg.Scopes = []string{scope}
			ts, err := externalaccount.NewTokenSource(ctx, cfg)
			if err != nil {
				return nil, err
			}
			return ts.Token()
		})
		return tok, source.explain(err)
	}
	return nil
}

// externalUser is for what gcloud writes after a login of a workforce pool. Its
// tokens have the scope cloud-platform, whatever is asked for.
func (f *credentialsFile) externalUser(id *identity, raw []byte) error {
	load := func(ctx context.Context) (*google.Credentials, error) {
		return google.CredentialsFromJSONWithType(ctx, raw, google.ExternalAccountAuthorizedUser)
	}
	if _, err := load(context.Background()); err != nil {
		return errUser
	}
	id.token = func(ctx context.Context, _ string) (*oauth2.Token, error) {
		return exchange(ctx, func(ctx context.Context) (*oauth2.Token, error) {
			creds, err := load(ctx)
			if err != nil {
				return nil, err
			}
			return creds.TokenSource.Token()
		})
	}
	return nil
}

// impersonated is for what gcloud writes after a login with
// --impersonate-service-account.
func (f *credentialsFile) impersonated(id *identity) (*identity, error) {
	imp, ok := parseImpersonationURL(f.ImpersonationURL)
	if !ok || f.SourceCredentials == nil {
		return nil, errImpersonated
	}
	base, err := parse(f.SourceCredentials)
	if err != nil {
		return nil, err
	}
	imp.delegates = f.Delegates
	impersonated := impersonate(base, imp)
	impersonated.kind, impersonated.universe, impersonated.quotaProject = id.kind, id.universe, id.quotaProject
	return impersonated, nil
}
