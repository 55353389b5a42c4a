package faults_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// misplaced are secrets that somebody has put where something else belongs.
func misplaced(s *authtest.Server) map[string]string {
	return map[string]string{
		"a service account's JSON":  string(s.ServiceAccount()),
		"JSON with a mark before":   "\ufeff\n" + string(s.User()),
		"JSON in base64":            base64.StdEncoding.EncodeToString(s.ServiceAccount()),
		"a key in PEM":              "-----BEGIN PRIVATE KEY-----\n" + authtest.Secrets()[4] + "\n-----END PRIVATE KEY-----",
		"a refresh token":           "1//0refresh-token-of-the-user",
		"an access token":           "ya29.c." + strings.Repeat("hunter2", 30),
		"JSON that is cut short":    `{"client_secret":"d-secret-of-the-client`,
		"JSON in one word, nothing": `{"hunter2":1}`,
	}
}

// parts are what nobody may see of a secret: any stretch of it.
func parts(secret string) (list []string) {
	const length = 24
	for i := 0; i+length <= len(secret); i += length / 2 {
		list = append(list, secret[i:i+length])
	}
	return append(list, secret)
}

// The JSON itself in GOOGLE_APPLICATION_CREDENTIALS, a usual mistake, put the
// private key into the errors of Dials and into reports (issue 17, point 1).
// No place that takes something else shows what was put there.
func TestASecretInTheWrongPlaceIsNotShown(t *testing.T) {
	g := newGoogle(t)
	places := map[string]func(t *testing.T, secret string) []cloudsqlconn.Option{
		"GOOGLE_APPLICATION_CREDENTIALS": func(t *testing.T, secret string) []cloudsqlconn.Option {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", secret)
			return nil
		},
		"CLOUDSDK_CONFIG": func(t *testing.T, secret string) []cloudsqlconn.Option {
			t.Setenv("CLOUDSDK_CONFIG", secret)
			return nil
		},
		"GOOGLE_CLOUD_UNIVERSE_DOMAIN": func(t *testing.T, secret string) []cloudsqlconn.Option {
			t.Setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", secret)
			return nil
		},
		"WithCredentialsFile": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithCredentialsFile(secret)}
		},
		"WithUniverseDomain": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithUniverseDomain(secret)}
		},
		"WithImpersonation": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithImpersonation(secret, secret)}
		},
		"WithIPTypes": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithIPTypes(cloudsqlconn.IPType(secret))}
		},
		"WithSQLData": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataMode(secret))}
		},
		"WithProxy": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithProxy(secret)}
		},
		"WithSQLDataEndpoint": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithSQLDataEndpoint(secret)}
		},
		"subject token's file": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithCredentialsJSON(authtest.With(g.auth.ExternalAccount(t.TempDir()), map[string]any{"credential_source": map[string]any{"file": secret}}))}
		},
		"type": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithCredentialsJSON(authtest.With(g.auth.User(), map[string]any{"type": secret}))}
		},
		"universe of a file": func(_ *testing.T, secret string) []cloudsqlconn.Option {
			return options{cloudsqlconn.WithCredentialsJSON(authtest.With(g.auth.ServiceAccount(), map[string]any{"universe_domain": secret}))}
		},
		"name": func(*testing.T, string) []cloudsqlconn.Option { return nil },
	}
	for place, put := range places {
		for what, secret := range misplaced(g.auth) {
			t.Run(place+" "+what, func(t *testing.T) {
				told, name := newWitness(t), testInstance
				if place == "name" {
					name = secret
				}
				texts := g.tellAll(t, name, append(put(t, secret), told.options())...)
				for _, text := range append(texts, told.all()) {
					for _, part := range parts(secret) {
						if strings.Contains(text, part) {
							t.Fatalf("%q shows %q", text, part)
						}
					}
				}
			})
		}
	}
}

// tellAll returns all that is told of a Dial and a Check that must fail.
func (g *google) tellAll(t *testing.T, name string, opts ...cloudsqlconn.Option) (texts []string) {
	t.Helper()
	add := func(err error) {
		if err == nil {
			t.Fatal("nothing failed")
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			texts = append(texts, fmt.Sprintf("%v %+v %#v", e, e, e.Error()))
		}
		texts = append(texts, cloudsqlconn.Hint(err))
	}
	d, err := cloudsqlconn.NewDialer(t.Context(), append(opts, cloudsqlconn.WithAdminAPIEndpoint(g.URL()), cloudsqlconn.WithDialFunc(g.DialContext))...)
	if err != nil {
		add(err)
		return texts
	}
	defer d.Close()
	_, err = d.Dial(t.Context(), name)
	add(err)
	report, err := d.Check(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	return append(texts, report.String(), string(asJSON), fmt.Sprintf("%+v", d.Instances()))
}

// A path is shown, since it tells what to mend.
func TestThePathOfACredentialsFileIsShown(t *testing.T) {
	g := newGoogle(t)
	for _, path := range []string{"no-such-file.json", filepath.Join(t.TempDir(), "key"), "./key"} {
		if e := dialError(t, g.dialer(t, cloudsqlconn.WithCredentialsFile(path))); !strings.Contains(e.Error(), path+":") {
			t.Errorf("%v does not show %s", e, path)
		}
	}
	e := dialError(t, g.dialer(t, cloudsqlconn.WithCredentialsFile("key-of-mine")))
	if !strings.Contains(e.Error(), "credentials of WithCredentialsFile: no such file") {
		t.Errorf("got %v, want where the path came from", e)
	}
}
