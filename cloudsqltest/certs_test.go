package cloudsqltest_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestBadClientCertificatesAreRefusedAtTheFirstRead(t *testing.T) {
	for _, tt := range []struct {
		name, alert string
		arrange     func(c *client, config *tls.Config)
	}{
		{"another CA's", "tls: unknown certificate authority", func(c *client, _ *tls.Config) { c.p.RotateClientCA() }},
		{"expired by its life", "tls: expired certificate", func(c *client, config *tls.Config) {
			c.p.SetCertTTL(time.Minute)
			withCertificate(c.certificate(), config)
			time.Sleep(2 * time.Minute)
		}},
		{"expired when made", "tls: expired certificate", func(c *client, config *tls.Config) {
			c.p.SetCertTTL(-time.Minute)
			withCertificate(c.certificate("validDuration", "3600s"), config)
		}},
		{"not valid yet", "tls: expired certificate", func(c *client, config *tls.Config) {
			c.p.AlterClientCert(func(cert *x509.Certificate) { cert.NotBefore = time.Now().Add(time.Minute) })
			withCertificate(c.certificate(), config)
		}},
		{"for servers only", "tls: bad certificate", func(c *client, config *tls.Config) {
			c.p.AlterClientCert(func(cert *x509.Certificate) { cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
			withCertificate(c.certificate(), config)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
				config := c.config()
				tt.arrange(c, config)
				conn, err := c.connect(config)
				if err != nil {
					t.Fatalf("the handshake failed: %v", err)
				}
				defer conn.Close()
				wantAlert(t, conn, tt.alert)
				if got, want := c.p.Counts(), (cloudsqltest.Counts{Accepted: 1, Rejected: 1}); got != want {
					t.Errorf("got %+v, want %+v, at once", got, want)
				}

				c.p.SetCertTTL(0)
				c.p.AlterClientCert(nil)
				defer c.mustConnect(c.config()).Close()
			})
		})
	}
}

func TestNoCertificateAndOldTLSAreRefused(t *testing.T) {
	onBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		none := c.config()
		none.GetClientCertificate = nil
		conn, err := c.connect(none)
		wantNil(t, err)
		defer conn.Close()
		wantAlert(t, conn, "tls: certificate required")

		old := c.config()
		old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
		if _, err := c.connect(old); err == nil {
			t.Error("TLS 1.1 is accepted")
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 2, Failed: 2})
	})
}

// Google's R2DBC connector offers TLS 1.2 only, and the kit refused it:
// protocol_version.
func TestTLS12IsAcceptedAndChecksTheClientCertificate(t *testing.T) {
	onBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		config := c.config()
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		conn := c.mustConnect(config)
		defer conn.Close()
		if v := conn.ConnectionState().Version; v != tls.VersionTLS12 {
			t.Errorf("version %x, want TLS 1.2", v)
		}
		c.p.RotateClientCA()
		if _, err := c.connect(config); err == nil {
			t.Error("a certificate of another CA is accepted")
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 2, Handshakes: 1, Rejected: 1})
	})
}

// What the client sends before it reads must not turn into a reset that
// overtakes the alert.
func TestRefusalArrivesThoughTheClientGoesOnWriting(t *testing.T) {
	onLoopback(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		config := c.config()
		c.p.RotateClientCA()
		for range 20 {
			conn, err := c.connect(config)
			wantNil(t, err)
			_, err = conn.Write(make([]byte, 1<<20))
			wantNil(t, err)
			wantAlert(t, conn, "tls: unknown certificate authority")
			_ = conn.Close()
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 20, Rejected: 20})
	})
}

func TestInstanceWhoseClockIsAhead(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{ClockSkew: 2 * time.Hour}, func(t *testing.T, c *client) {
		conn, err := c.connect(c.config())
		wantNil(t, err)
		defer conn.Close()
		wantAlert(t, conn, "tls: expired certificate")
		c.wantCounts(cloudsqltest.Counts{Accepted: 1, Rejected: 1})
	})
}

func TestServerCertificateFaultsOfARunningInstance(t *testing.T) {
	for _, mode := range []cloudsqltest.CAMode{cloudsqltest.LegacyCA, cloudsqltest.GoogleCAS} {
		for name, arrange := range map[string]func(p *cloudsqltest.EmulatedInstance){
			"rotated": (*cloudsqltest.EmulatedInstance).RotateServerCA,
			"expired": func(p *cloudsqltest.EmulatedInstance) {
				p.AlterServerCert(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
			},
			"not valid yet": func(p *cloudsqltest.EmulatedInstance) {
				p.AlterServerCert(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
			},
			"for clients": func(p *cloudsqltest.EmulatedInstance) {
				p.AlterServerCert(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
			},
		} {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				inMemory(t, cloudsqltest.Instance{CAMode: mode}, func(t *testing.T, c *client) {
					config := c.config()
					open := c.mustConnect(config)
					defer open.Close()
					arrange(c.p)
					var untrusted *tls.CertificateVerificationError
					_, err := c.connect(config)
					if e := (x509.UnknownAuthorityError{}); !errors.As(err, &untrusted) && !errors.As(err, &e) && !errors.As(err, new(x509.CertificateInvalidError)) {
						t.Errorf("got error %v, want one of verification", err)
					}
					c.wantCounts(cloudsqltest.Counts{Accepted: 2, Handshakes: 1, Distrusted: 1})
					wantEcho(t, open)

					c.p.AlterServerCert(nil)
					defer c.mustConnect(c.config()).Close()
				})
			})
		}
	}
}

func TestAlteredServerCertificateHasTheSameCA(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		before := c.settings().ServerCaCert
		c.p.AlterServerCert(func(cert *x509.Certificate) { cert.Subject.CommonName = "altered" })
		if after := c.settings().ServerCaCert; after != before {
			t.Error("the CA has changed")
		}
		c.p.RotateServerCA()
		if after := c.settings().ServerCaCert; after.Cert == before.Cert {
			t.Error("RotateServerCA has not changed the CA")
		}
		conn := c.mustConnect(c.config())
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "altered" {
			t.Errorf("the certificate after RotateServerCA is for %q: the alteration is gone", got)
		}
	})
}

func TestSessionsAreResumedUntilSomethingRotates(t *testing.T) {
	rotations := map[string]func(p *cloudsqltest.EmulatedInstance){
		"nothing":            func(*cloudsqltest.EmulatedInstance) {},
		"server CA":          (*cloudsqltest.EmulatedInstance).RotateServerCA,
		"client CA":          (*cloudsqltest.EmulatedInstance).RotateClientCA,
		"server certificate": func(p *cloudsqltest.EmulatedInstance) { p.AlterServerCert(nil) },
		"life":               func(p *cloudsqltest.EmulatedInstance) { p.SetCertTTL(time.Minute) },
	}
	for name, rotate := range rotations {
		t.Run(name, func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
				config := c.config()
				config.ClientSessionCache = tls.NewLRUClientSessionCache(10)
				config.ServerName = "my-db" // the key of the cache
				for i := range 3 {
					conn := c.mustConnect(config)
					if got := conn.ConnectionState().DidResume; got != (i > 0) {
						t.Errorf("connection %d: resumed %v", i, got)
					}
					_ = conn.Close()
				}
				c.wantCounts(cloudsqltest.Counts{Accepted: 3, Handshakes: 3, Resumed: 2})

				rotate(c.p)
				renewed := c.config()
				renewed.ClientSessionCache, renewed.ServerName = config.ClientSessionCache, config.ServerName
				conn := c.mustConnect(renewed)
				defer conn.Close()
				if got := conn.ConnectionState().DidResume; got != (name == "nothing" || name == "life") {
					t.Errorf("resumed %v", got)
				}
			})
		})
	}
}

func TestNoSessionTicketsMeansNoResumption(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{NoSessionTickets: true}, func(t *testing.T, c *client) {
		config := c.config()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(10)
		config.ServerName = "my-db"
		for range 2 {
			_ = c.mustConnect(config).Close()
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 2, Handshakes: 2})
	})
}

// A session does not outlive the client certificate that it was made with.
func TestSessionsExpireWithTheirCertificate(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{CertTTL: 10 * time.Minute}, func(t *testing.T, c *client) {
		config := c.config()
		config.ClientSessionCache = tls.NewLRUClientSessionCache(10)
		config.ServerName = "my-db"
		_ = c.mustConnect(config).Close()
		time.Sleep(11 * time.Minute)
		conn, err := c.connect(config)
		wantNil(t, err)
		defer conn.Close()
		wantAlert(t, conn, "tls: expired certificate")
		c.wantCounts(cloudsqltest.Counts{Accepted: 2, Handshakes: 1, Rejected: 1})
	})
}

func TestNewPSCNameIsInTheCertificate(t *testing.T) {
	const first, second = "a.b.europe-west1.sql-psc.goog", "c.d.europe-west1.sql-psc.goog"
	addrs := func(psc string) map[cloudsqlconn.IPType]string {
		return map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "203.0.113.7", cloudsqlconn.PSC: psc}
	}
	inMemory(t, cloudsqltest.Instance{Addrs: addrs(first)}, func(t *testing.T, c *client) {
		for _, name := range []string{first, second} {
			c.p.SetAddrs(addrs(name))
			conn := c.mustConnect(c.config())
			defer conn.Close()
			if err := conn.ConnectionState().PeerCertificates[0].VerifyHostname(name); err != nil {
				t.Error(err)
			}
			if s := c.settings(); !s.PscEnabled || s.DNSName != name+"." {
				t.Errorf("the metadata has PSC %v, name %q", s.PscEnabled, s.DNSName)
			}
		}
	})
}
