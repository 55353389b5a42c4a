package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/oauth2"
)

// find looks the credentials up.
func (c *Credentials) find(ctx context.Context) (*identity, error) {
	id, err := c.beforeImpersonation(c.hedged(ctx))
	if err != nil {
		return nil, err
	}
	if id.universe != "" && id.universe != c.cfg.Universe {
		return nil, &ConfigError{fmt.Sprintf("the credentials belong to %s, the Dialer to %s; see WithUniverseDomain", universeName(id.universe), c.cfg.Universe)}
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

// domainForm is how a universe is named. What a file has instead is not shown.
var domainForm = regexp.MustCompile(`^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$`)

func universeName(domain string) string {
	if !domainForm.MatchString(domain) {
		return "another universe"
	}
	return "the universe " + domain
}

// beforeImpersonation returns the credentials themselves.
func (c *Credentials) beforeImpersonation(ctx context.Context) (*identity, error) {
	switch {
	case c.base != nil:
		return &identity{kind: kindSource, token: func(ctx context.Context, _ string) (*oauth2.Token, error) { return c.base.TokenContext(ctx) }}, nil
	case c.cfg.JSON != nil:
		return parseFrom("WithCredentialsJSON", c.cfg.JSON)
	case c.cfg.File != "":
		return readFile("WithCredentialsFile", c.cfg.File)
	}
	if c.cfg.MachineOnly {
		return findMachine(ctx)
	}
	return findDefault(ctx)
}

// hostVariable names the metadata server, for all of Google's libraries.
const hostVariable = "GCE_METADATA_HOST"

// findMachine asks the metadata server that the environment names, on loopback, and
// nothing else: that of the machine may be a real one.
func findMachine(ctx context.Context) (found *identity, err error) {
	if host := os.Getenv(hostVariable); isLoopback(host) {
		found, err = fromMetadata(ctx)
	}
	if found == nil && err == nil {
		err = &NotFoundError{Machine: true, Err: errors.New("there is no metadata server on loopback; see " + hostVariable)}
	}
	return found, err
}

// isLoopback reports whether address, a host with or without a port, is on loopback.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// findDefault looks for Application Default Credentials where all of Google's
// libraries do.
func findDefault(ctx context.Context) (*identity, error) {
	const variable = "GOOGLE_APPLICATION_CREDENTIALS"
	if path := os.Getenv(variable); path != "" {
		return readFile(variable, path)
	}
	dir := gcloudDir()
	path, show := filepath.Join(dir, "application_default_credentials.json"), LooksLikePath(dir)
	raw, err := read(path)
	if err == nil {
		if !show {
			path = "of CLOUDSDK_CONFIG"
		}
		return parseFrom(path, raw)
	}
	// A file that must not be read is no hindrance: services can have the
	// administrator's HOME.
	found, metaErr := fromMetadata(ctx)
	if found != nil || metaErr != nil {
		return found, metaErr
	}
	return nil, &NotFoundError{Err: fmt.Errorf("no Application Default Credentials: %s is not set, %w, and there is no metadata server", variable, withoutPath(err, show))}
}

// gcloudDir is where gcloud writes Application Default Credentials.
func gcloudDir() string {
	dir := os.Getenv("CLOUDSDK_CONFIG")
	switch {
	case dir != "":
	case runtime.GOOS == "windows":
		dir = filepath.Join(os.Getenv("APPDATA"), "gcloud")
	default:
		home, _ := os.UserHomeDir() // without one, the error names the rest
		dir = filepath.Join(home, ".config", "gcloud")
	}
	return dir
}

func parseFrom(place string, raw []byte) (*identity, error) {
	id, err := parse(raw)
	if err != nil {
		return nil, &NotFoundError{From: place, Err: err}
	}
	return id, nil
}
