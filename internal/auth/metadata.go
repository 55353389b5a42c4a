package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"
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
	universe, err := server.GetWithContext(ctx, "universe/universe-domain")
	var unknown metadata.NotDefinedError
	switch {
	case errors.As(err, &unknown):
		universe = DefaultUniverse
	case err != nil:
		return nil, err
	}
	email := func(ctx context.Context) (string, error) { return server.EmailWithContext(ctx, "default") }
	return &identity{kind: kindMetadata, token: metadataToken, universe: strings.TrimSpace(universe), askEmail: email}, nil
}

// metadataToken asks the metadata server for a token.
func metadataToken(ctx context.Context, scope string) (*oauth2.Token, error) {
	query := url.Values{"scopes": {scope}}
	text, err := metadata.NewClient(nil).GetWithContext(ctx, "instance/service-accounts/default/token?"+query.Encode())
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
