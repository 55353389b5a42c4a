package sqlserver_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
)

// Whatever a data source name says about TLS inside TDS, and whatever the
// server is set to, without any CA file.
func TestTLSInsideTDSNeedsNoCAFile(t *testing.T) {
	t.Parallel()
	const none, offered, forced = "none", "offered", "forced"
	for _, tt := range []struct {
		dsn     string
		servers string // on which it works
		inTLS   string // on which everything is in TLS
	}{
		{"", none + offered + forced, forced},
		{"&encrypt=disable", none + offered + forced, forced},
		{"&encrypt=false", none + offered + forced, forced},
		{"&encrypt=optional", none + offered + forced, forced},
		{"&encrypt=true", offered + forced, offered + forced},
		{"&encrypt=mandatory&tlsmin=1.2", offered + forced, offered + forced},
		{"&encrypt=true&hostnameincertificate=my-project:my-db", offered + forced, offered + forced},
		{"&encrypt=true&trustservercertificate=false", offered + forced, offered + forced},
		{"&encrypt=true&trustservercertificate=true", offered + forced, offered + forced},
		{"&encrypt=disable&trustservercertificate=true", none + offered + forced, forced},
	} {
		for _, server := range []string{none, offered, forced} {
			t.Run(server+tt.dsn, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					cert := newCertificate(t, "my-project:my-db")
					db := &tds.Server{Users: map[string]string{"app": "secret"}, ForceEncryption: server == forced}
					if server != none {
						db.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
					}
					c := newCloud(t, db)
					c.trustToo(cert)
					err := open(t, c.dialer, plainDSN+tt.dsn).PingContext(t.Context())
					if works := strings.Contains(tt.servers, server); (err == nil) != works {
						t.Fatalf("got %v", err)
					}
					got := db.Sessions()[0].Encryption
					inTLS := got == tds.On || got == tds.Required
					if want := strings.Contains(tt.inTLS, server); inTLS != want {
						t.Errorf("encryption %v, want all in TLS: %v", got, want)
					}
				})
			})
		}
	}
}

// Fails closed: the server CA is that of the metadata, and the name counts.
func TestAnotherServerInsideTheTunnelIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, commonName string
		trusted          bool // the metadata has its CA
		dsn              string
		refused          bool
	}{
		{"another CA", "my-project:my-db", false, "", true},
		{"another CA, encrypt=disable", "my-project:my-db", false, "&encrypt=disable", true},
		{"another CA, encrypt=true", "my-project:my-db", false, "&encrypt=true", true},
		{"another instance", "my-project:other", true, "", true},
		{"another instance, encrypt=true", "my-project:other", true, "&encrypt=true", true},
		{"the host, not the instance", "db.invalid", true, "&encrypt=true", true},
		{"a host in certificates, not the instance", "other", true, "&encrypt=true&hostnameincertificate=db.invalid", true},
		{"another CA, trusted by the data source name", "my-project:my-db", false, "&trustservercertificate=true", false},
		{"another instance, not trusted by the data source name", "my-project:other", true, "&trustservercertificate=false", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cert := newCertificate(t, tt.commonName, "db.invalid")
				c := newCloud(t, &tds.Server{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, ForceEncryption: true})
				if tt.trusted {
					c.trustToo(cert)
				}
				err := open(t, c.dialer, plainDSN+tt.dsn).PingContext(t.Context())
				if hinted := strings.Contains(cloudsqlconn.Hint(err), "trustservercertificate"); hinted != tt.refused {
					t.Errorf("the hint is %q", cloudsqlconn.Hint(err))
				}
				if errors.Is(err, cloudsqlconn.ErrUnverified) != tt.refused || (err != nil) != tt.refused {
					t.Fatalf("got %v", err)
				}
				if tt.refused && !strings.Contains(err.Error(), `"`+tt.commonName+`"`) {
					t.Errorf("the error does not say what the certificate has: %v", err)
				}
				if got := c.db.Sessions()[0].Login.Password; tt.refused && got != "" {
					t.Errorf("the server heard the password")
				}
			})
		})
	}
}

// The server CA is asked of the Dialer at every connection.
func TestARotatedServerCAInsideTheTunnelIsFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cert := newCertificate(t, "my-project:my-db")
		c := newCloud(t, &tds.Server{ForceEncryption: true, TLS: &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		}})
		c.trustToo(cert)
		db := open(t, c.dialer, plainDSN)
		db.SetMaxIdleConns(-1)
		wantNil(t, db.PingContext(t.Context()))

		cert = newCertificate(t, "my-project:my-db")
		c.trustToo(cert)
		c.emulated.RotateServerCA() // the tunnel's, which has the Dialer refresh
		wantNil(t, db.PingContext(t.Context()))
	})
}

func TestACertificateFileOfTheDataSourceNameCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cert, other := newCertificate(t, "my-project:other"), newCertificate(t, "my-project:my-db")
		c := newCloud(t, &tds.Server{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, ForceEncryption: true})
		c.trustToo(other)
		for _, tt := range []struct {
			cert tls.Certificate
			ok   bool
		}{{cert, true}, {other, false}} {
			file := filepath.Join(t.TempDir(), "server.pem")
			wantNil(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tt.cert.Certificate[0]}), 0o600))
			err := open(t, c.dialer, plainDSN+"&encrypt=true&servercertificate="+file).PingContext(t.Context())
			if (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		}
	})
}
