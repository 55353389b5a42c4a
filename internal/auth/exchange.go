package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
)

const (
	maxReply   = 1 << 20  // bytes in a reply
	maxRefusal = 64 << 10 // bytes in any other answer, which errors hold on to

	maxRedirects = 10 // of a request without secrets; what net/http does by default
)

// exchange runs f, which gets a token with the HTTP client in its context, and
// finds out what kind of failure its errors are: most of x/oauth2's are text.
func exchange(ctx context.Context, f func(context.Context) (*oauth2.Token, error)) (*oauth2.Token, error) {
	base, _ := ctx.Value(oauth2.HTTPClient).(*http.Client)
	if base == nil {
		base = http.DefaultClient
	}
	w := &watcher{base: base.Transport, hedges: hedgesOf(ctx)}
	if w.base == nil {
		w.base = http.DefaultTransport
	}
	client := *base
	client.Transport = w
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		switch {
		case via[0].Method == http.MethodPost: // with secrets, which are for nobody else
			return http.ErrUseLastResponse
		case base.CheckRedirect != nil:
			return base.CheckRedirect(req, via)
		case len(via) >= maxRedirects:
			return fmt.Errorf("stopped after %d redirects", len(via))
		}
		return nil
	}
	// Not all of x/oauth2's requests end with ctx.
	if deadline, ok := ctx.Deadline(); ok {
		left := max(time.Until(deadline), 1) // zero would mean no limit
		if client.Timeout == 0 || client.Timeout > left {
			client.Timeout = left
		}
	}
	tok, err := f(context.WithValue(ctx, oauth2.HTTPClient, &client))
	switch {
	case err == nil:
		return tok, nil
	case w.refusal != nil:
		if w.refusal.Err == nil {
			w.refusal.Err = err
		}
		return nil, w.refusal
	case w.asked || ctx.Err() != nil:
		return nil, err
	}
	// Nothing was sent, so that the credentials themselves are at fault. After
	// its first line, x/oauth2 shows what it could not read.
	text, _, _ := strings.Cut(err.Error(), "\n")
	return nil, &NotFoundError{Err: errors.New("the credentials cannot be used: " + text)}
}

// watcher remembers how the last request of an exchange ended, and takes the
// secrets in it out of the answer to it, should that be a failure. It is for
// one goroutine.
type watcher struct {
	base    http.RoundTripper
	hedges  *hedges
	asked   bool
	refusal *RefusedError // the last answer, if it was a failure
}

// RoundTrip does what base does, twice if need be.
func (w *watcher) RoundTrip(req *http.Request) (*http.Response, error) {
	w.asked, w.refusal = true, nil
	form := formOf(req)
	resp, err := w.hedges.roundTrip(w.base, req)
	if err != nil || resp == nil || resp.Body == nil { // net/http takes care of these
		return resp, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	step, target := stepOf(req, form)
	good := resp.StatusCode >= 200 && resp.StatusCode < 300 && (step == SubjectToken || !answer.IsPage(body))
	if !good {
		for _, secret := range secretsIn(req, form) {
			body = bytes.ReplaceAll(body, []byte(secret), []byte("[secret]"))
		}
		body = body[:min(len(body), maxRefusal)]
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if good {
		return resp, nil
	}
	w.refusal = &RefusedError{Step: step, Host: req.URL.Hostname(), Target: target, Code: resp.StatusCode, Header: resp.Header}
	if !answer.IsRefusal(body) {
		w.refusal.Stranger = step != SubjectToken // anybody's server can give that
		w.refusal.Err = errors.New(answer.Summary(resp.StatusCode, resp.Header, body))
	}
	if offset, ok := ClockOffset(resp.Header, time.Now()); ok {
		w.refusal.ClockOffset = offset
	}
	return resp, nil
}

// formOf returns what req has to say to an OAuth 2.0 server.
func formOf(req *http.Request) url.Values {
	if req.GetBody == nil || !strings.HasPrefix(req.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return nil
	}
	form, _ := url.ParseQuery(string(text))
	return form
}

// stepOf tells what req asks for.
func stepOf(req *http.Request, form url.Values) (step Step, target string) {
	switch form.Get("grant_type") {
	case "refresh_token":
		return UserLogin, ""
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		return AccountKey, ""
	case "urn:ietf:params:oauth:grant-type:token-exchange":
		return Federation, ""
	}
	if imp, ok := parseImpersonationURL(req.URL.String()); ok {
		_, target, _ = strings.Cut(imp.account, "/serviceAccounts/")
		return Impersonation, target
	}
	return SubjectToken, ""
}

// secretsIn returns what nobody else may see of req.
func secretsIn(req *http.Request, form url.Values) []string {
	var secrets []string
	add := func(s string) {
		if s != "" {
			secrets = append(secrets, s, url.QueryEscape(s), strings.ReplaceAll(s, "/", `\/`))
		}
	}
	for _, name := range []string{"refresh_token", "client_secret", "assertion", "subject_token"} {
		add(form.Get(name))
	}
	if _, password, ok := req.BasicAuth(); ok {
		add(password)
	}
	authorization := req.Header.Get("Authorization")
	_, token, _ := strings.Cut(authorization, " ")
	add(token)
	add(authorization)
	return secrets
}
