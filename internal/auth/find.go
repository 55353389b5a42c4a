package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/oauth2"
)

// maxFile bounds a credentials file, which has a few kilobytes.
const maxFile = 1 << 20

// find looks the credentials up.
func (c *Credentials) find(ctx context.Context) (*identity, error) {
	id, err := c.beforeImpersonation(c.hedged(ctx))
	if err != nil {
		return nil, err
	}
	if id.universe != "" && id.universe != c.cfg.Universe {
		return nil, &ConfigError{fmt.Sprintf("the credentials belong to the universe %s, the Dialer to %s; see WithUniverseDomain", id.universe, c.cfg.Universe)}
	}
	if c.cfg.Target == "" {
		return id, nil
	}
	return impersonate(id, impersonation{
		endpoint:  "https://iamcredentials." + c.cfg.Universe + "/",
		account:   accountPrefix + c.cfg.Target,
		delegates: c.cfg.Delegates,
	}), nil
}

// beforeImpersonation returns the credentials themselves.
func (c *Credentials) beforeImpersonation(ctx context.Context) (*identity, error) {
	switch {
	case c.base != nil:
		return &identity{kind: kindSource, token: func(ctx context.Context, _ string) (*oauth2.Token, error) { return c.base.TokenContext(ctx) }}, nil
	case c.cfg.JSON != nil:
		return parseFrom("WithCredentialsJSON", c.cfg.JSON)
	case c.cfg.File != "":
		return readFile(c.cfg.File)
	}
	return findDefault(ctx)
}

// findDefault looks for Application Default Credentials where all of Google's
// libraries do.
func findDefault(ctx context.Context) (*identity, error) {
	if name := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); name != "" {
		return readFile(name)
	}
	name := gcloudFile()
	id, err := readFile(name)
	if err == nil {
		return id, nil
	}
	var path *fs.PathError
	if !errors.As(err, &path) {
		return nil, err // it was read, and is no good
	}
	// A file that must not be read is no hindrance: services can have the
	// administrator's HOME.
	found, metaErr := fromMetadata(ctx)
	if found != nil || metaErr != nil {
		return found, metaErr
	}
	return nil, &NotFoundError{Err: fmt.Errorf("no Application Default Credentials: GOOGLE_APPLICATION_CREDENTIALS is not set, %w, and there is no metadata server", path)}
}

// gcloudFile is where gcloud writes Application Default Credentials.
func gcloudFile() string {
	dir := os.Getenv("CLOUDSDK_CONFIG")
	switch {
	case dir != "":
	case runtime.GOOS == "windows":
		dir = filepath.Join(os.Getenv("APPDATA"), "gcloud")
	default:
		home, _ := os.UserHomeDir() // without one, the error names the rest
		dir = filepath.Join(home, ".config", "gcloud")
	}
	return filepath.Join(dir, "application_default_credentials.json")
}

// readFile returns the credentials in a file.
func readFile(name string) (*identity, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &NotFoundError{From: name, Err: err}
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, &NotFoundError{From: name, Err: err}
	}
	return parseFrom(name, raw)
}

func parseFrom(place string, raw []byte) (*identity, error) {
	id, err := parse(raw)
	if err != nil {
		return nil, &NotFoundError{From: place, Err: err}
	}
	return id, nil
}
