package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hedge"
)

// fromMetadata returns the service account of this machine or container, or
// neither that nor an error if there is no metadata server. Errors of the
// server, or on the way to it, are returned as they are.
func fromMetadata(ctx context.Context) (*identity, error) {
	server := metadata.NewClient(nil)
	// As other libraries of Google have it: spares those the search who know
	// that there is nothing to find.
	if strings.EqualFold(os.Getenv("NO_GCE_CHECK"), "true") {
		return nil, nil
	}
	// Not the package's function of this name: that one remembers for ever that
	// the network was not up yet.
	if !server.OnGCEWithContext(ctx) {
		return nil, nil
	}
	h := hedgesOf(ctx)
	universe, err := h.metadata(ctx, "universe/universe-domain")
	var unknown metadata.NotDefinedError
	switch {
	case errors.As(err, &unknown):
		universe = DefaultUniverse
	case err != nil:
		return nil, err
	}
	email := func(ctx context.Context) (string, error) {
		text, err := h.metadata(ctx, "instance/service-accounts/default/email")
		return strings.TrimSpace(text), err
	}
	return &identity{kind: kindMetadata, token: h.metadataToken, universe: strings.TrimSpace(universe), askEmail: email}, nil
}

// metadataToken asks the metadata server for a token.
func (h *hedges) metadataToken(ctx context.Context, scope string) (*oauth2.Token, error) {
	query := url.Values{"scopes": {scope}}
	text, err := h.metadata(ctx, "instance/service-accounts/default/token?"+query.Encode())
	if err != nil {
		return nil, err
	}
	var tok oauth2.Token
	if json.Unmarshal([]byte(text), &tok) != nil || tok.AccessToken == "" || tok.ExpiresIn <= 0 {
		return nil, errors.New("the metadata server's reply holds no token")
	}
	tok.Expiry = time.Now().Add(time.Duration(tok.ExpiresIn) * time.Second)
	return &tok, nil
}

// metadata asks the metadata server, and once more beside that if no answer
// comes. It speaks HTTP/1.1, so that the second goes over another connection.
func (h *hedges) metadata(ctx context.Context, suffix string) (string, error) {
	return hedge.Run(ctx, &h.hedger, hedge.Call[string]{
		Do: func(ctx context.Context, _ bool) (string, error) {
			text, err := askMetadata(ctx, suffix)
			if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Code == http.StatusTooManyRequests {
				h.hedger.Quiet(quotaPause)
			}
			return text, err
		},
		Weigh: func(err error) hedge.Weight {
			var (
				unknown metadata.NotDefinedError
				refused *RefusedError
			)
			switch {
			case errors.As(err, &unknown), errors.As(err, &refused) && refused.Code < 500:
				return hedge.Final
			case refused != nil:
				return hedge.Passing
			}
			return hedge.Unanswered
		},
		Hedged: func() { h.count(callMetadata) },
	})
}

// metadataTransport is like the one of package metadata, which keeps the text of
// some refusals to itself.
var metadataTransport = &http.Transport{
	DialContext:     (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
	IdleConnTimeout: time.Minute,
}

// askMetadata asks the metadata server. Its error is a [*RefusedError] if the
// server has answered, with the text that GKE's passes on from IAM; a
// metadata.NotDefinedError if there is nothing of that name; or of the network.
func askMetadata(ctx context.Context, suffix string) (string, error) {
	heard := &lastAnswer{base: metadataTransport}
	client := metadata.NewClient(&http.Client{Transport: heard, Timeout: 5 * time.Second})
	text, err := client.GetWithContext(ctx, suffix)
	_, unknown := errors.AsType[metadata.NotDefinedError](err)
	_, answered := errors.AsType[*metadata.Error](err)
	if !unknown && !answered {
		return text, atNamedHost(err)
	}
	body := []byte(heard.body)
	ofIAM := iamAnswer.Match(body)
	if unknown && !ofIAM {
		return "", err
	}
	refused := &RefusedError{Step: Metadata, Host: heard.host, Code: heard.code, Header: heard.header, Stranger: answer.IsPage(body)}
	refused.Err = errors.New(answer.Summary(heard.code, heard.header, body))
	if ofIAM {
		refused.Err = errors.New(strings.TrimSpace(heard.body))
	}
	return "", refused
}

// atNamedHost says of a failure on the way to the metadata server that it is the one of
// the environment, if it is.
func atNamedHost(err error) error {
	if err == nil || os.Getenv(hostVariable) == "" {
		return err
	}
	return &MetadataHostError{err}
}

// iamAnswer is in the texts that GKE's metadata server passes on.
var iamAnswer = regexp.MustCompile(`IAM returned \d{3}`)

// lastAnswer remembers the last answer. It is for one goroutine.
type lastAnswer struct {
	base   http.RoundTripper
	host   string
	code   int
	header http.Header
	body   string
}

// RoundTrip does what base does.
func (l *lastAnswer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	l.host, l.code, l.header, l.body = req.URL.Hostname(), resp.StatusCode, resp.Header, string(body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
