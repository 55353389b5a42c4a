package auth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

// accountPrefix stands before the e-mail of a service account in the IAM
// Credentials API.
const accountPrefix = "projects/-/serviceAccounts/"

// accessTokenRequest and accessTokenResponse are the messages of the IAM
// Credentials API's generateAccessToken.
type (
	accessTokenRequest struct {
		Delegates []string `json:"delegates,omitempty"`
		Scope     []string `json:"scope"`
	}
	accessTokenResponse struct {
		AccessToken string `json:"accessToken"`
		ExpireTime  string `json:"expireTime"`
	}
)

// impersonation is how to become another service account.
type impersonation struct {
	endpoint  string // root URL of the IAM Credentials API
	account   string // accountPrefix and e-mail
	delegates []string
}

// impersonate returns the identity of i, as which base is allowed to act. Calls
// count for the project of that account, and not for base's quota project.
func impersonate(base *identity, i impersonation) *identity {
	id := &identity{
		kind:     base.kind + ", impersonating",
		universe: base.universe,
		token: func(ctx context.Context, scope string) (*oauth2.Token, error) {
			caller, err := base.token(ctx, cloudScope)
			if err != nil {
				return nil, err
			}
			if caller == nil || caller.AccessToken == "" {
				return nil, errors.New("the token source returned an empty token")
			}
			return exchange(ctx, func(ctx context.Context) (*oauth2.Token, error) {
				return i.token(ctx, caller, base.quotaProject, scope)
			})
		},
	}
	id.belongsTo(i.email())
	return id
}

// email is the e-mail address of the account.
func (i *impersonation) email() string { return i.account[strings.LastIndex(i.account, "/")+1:] }

// token asks for a token of the account. ctx has an HTTP client.
func (i *impersonation) token(ctx context.Context, caller *oauth2.Token, quotaProject, scope string) (*oauth2.Token, error) {
	client, _ := ctx.Value(oauth2.HTTPClient).(*http.Client)
	req := accessTokenRequest{Scope: []string{scope}}
	for _, d := range i.delegates {
		req.Delegates = append(req.Delegates, accountPrefix+strings.TrimPrefix(d, accountPrefix))
	}
	header := http.Header{"Authorization": {caller.Type() + " " + caller.AccessToken}}
	if quotaProject != "" {
		header.Set("X-Goog-User-Project", quotaProject)
	}
	reply, _, err := googleapi.Do[accessTokenResponse](ctx, client, googleapi.Call{
		Method: http.MethodPost,
		URL:    strings.TrimSuffix(i.endpoint, "/") + "/v1/" + i.account + ":generateAccessToken",
		Header: header,
		Body:   req,
	})
	if err != nil {
		return nil, err
	}
	if reply == nil || reply.AccessToken == "" { // the JSON was null, or empty
		return nil, errors.New("the IAM Credentials API's reply holds no token")
	}
	expiry, err := time.Parse(time.RFC3339, reply.ExpireTime)
	if err != nil {
		return nil, errors.New("the IAM Credentials API's reply has no valid expireTime")
	}
	return &oauth2.Token{AccessToken: reply.AccessToken, TokenType: "Bearer", Expiry: expiry}, nil
}

// parseImpersonationURL takes the URL of a call of the IAM Credentials API
// apart, such as
// https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/EMAIL:generateAccessToken.
func parseImpersonationURL(text string) (impersonation, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return impersonation{}, false
	}
	root, call, _ := strings.Cut(u.Path, "/v1/")
	account, isCall := strings.CutSuffix(call, ":generateAccessToken")
	if _, email, ok := strings.Cut(account, "/serviceAccounts/"); !ok || !isCall || email == "" {
		return impersonation{}, false
	}
	endpoint := url.URL{Scheme: u.Scheme, Host: u.Host, Path: root + "/"}
	return impersonation{endpoint: endpoint.String(), account: account}, true
}
