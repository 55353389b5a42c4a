package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

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
			text, err := metadata.NewClient(nil).GetWithContext(ctx, suffix)
			if failure, ok := errors.AsType[*metadata.Error](err); ok && failure.Code == http.StatusTooManyRequests {
				h.hedger.Quiet(quotaPause)
			}
			return text, err
		},
		Weigh: func(err error) hedge.Weight {
			var (
				unknown metadata.NotDefinedError
				failure *metadata.Error
			)
			switch {
			case errors.As(err, &unknown), errors.As(err, &failure) && failure.Code < 500:
				return hedge.Final
			case failure != nil:
				return hedge.Passing
			}
			return hedge.Unanswered
		},
		Hedged: func() { h.count(callMetadata) },
	})
}
