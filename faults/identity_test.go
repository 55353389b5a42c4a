package faults_test

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// F14
func TestARotatedServerCAFailsNoDial(t *testing.T) {
	for _, mode := range []cloudsqltest.CAMode{cloudsqltest.LegacyCA, cloudsqltest.GoogleCAS} {
		t.Run(string(mode), func(t *testing.T) {
			bothStrategies(t, cloudsqltest.Instance{CAMode: mode}, func(t *testing.T, w *world) {
				for range 3 {
					w.wantDial()
					w.instance.RotateServerCA()
				}
				w.wantDial()
				w.wantCalls(8)
			})
		})
	}
}

// F14: what the second try is made with is out of date already.
func TestAnInstanceThatChangesDuringTheRefreshIsFound(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		var rotations atomic.Int32
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if n := rotations.Load(); n == 0 || n == 3 || r.Method != http.MethodPost {
				return nil
			}
			// The metadata has been told by now.
			rotations.Add(1)
			time.AfterFunc(time.Second/2, w.instance.RotateServerCA)
			return &cloudsqltest.Fault{Delay: time.Second}
		}
		w.wantDial()
		w.instance.RotateServerCA()
		rotations.Store(1)
		w.wantDial()
		if n := rotations.Load(); n != 3 {
			t.Errorf("%d rotations", n)
		}
		w.wantCalls(8)
	})
}

// A refresh that had been told the old CA was still under way when a Dial could not
// verify the server: what it brought was the same, and the Dial failed.
func TestARefreshThatBeganBeforeARotationFailsNoDial(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		begun := make(chan struct{})
		var requests atomic.Int32
		w.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			if r.Method != http.MethodPost || requests.Add(1) != 2 {
				return nil
			}
			close(begun) // the metadata has been told by now
			return &cloudsqltest.Fault{Delay: time.Second}
		}
		w.wantDial()
		<-begun
		time.Sleep(time.Second / 2)
		w.instance.RotateServerCA()
		if !w.dialer.Instances()[0].Refreshing {
			t.Fatal("the refresh has ended")
		}
		w.wantDial()
		w.wantCalls(6)
	})
}

// The metadata had just been looked at, for a connection that was cut, when the CA was
// rotated: a Dial that could not verify the server was refused another look so soon
// after that one, and failed.
func TestARotationJustAfterARefreshFailsNoDial(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"server CA": func(w *world) { w.instance.RotateServerCA() },
		"address": func(w *world) {
			w.instance.SetAddrs(map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.9.9.9"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.refreshForACutConnection()
				change(w)
				var calls sync.WaitGroup
				for range 4 {
					calls.Go(func() { w.wantDial() })
				}
				calls.Wait()
				w.wantCalls(6)
			})
		})
	}
}

// The same of the client CA: after one refusal, the certificate that was refused served
// every Dial until another look was allowed.
func TestAClientCARotatedJustAfterARefreshRefusesOneConnection(t *testing.T) {
	bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.refreshForACutConnection()
		w.instance.RotateClientCA()
		if err := w.dial(10 * time.Second); !errors.Is(err, driver.ErrBadConn) {
			t.Fatalf("got %v, want a refusal", err)
		}
		w.wantDial()
		w.wantCalls(6)
	})
}

// refreshForACutConnection cuts a connection that has not been used, and waits for the
// refresh that this is a reason for: there is none so soon after it.
func (w *world) refreshForACutConnection() {
	w.t.Helper()
	before := w.calls()
	c, err := w.dialer.Dial(w.t.Context(), testInstance)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	w.instance.CutConnections(true)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		w.t.Fatalf("got %v, want a reset", err)
	}
	time.Sleep(time.Second / 10)
	if w.wantCalls(before + 4); w.dialer.Instances()[0].Refreshing {
		w.t.Fatal("the refresh has not ended")
	}
}

// F15, core
func TestARefusedClientCertificateIsReplaced(t *testing.T) {
	for name, refuse := range map[string]func(w *world){
		"client CA rotated": func(w *world) { w.instance.RotateClientCA() },
	} {
		t.Run(name, func(t *testing.T) {
			bothStrategies(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				w.wantDial()
				refuse(w)
				c, err := w.dialer.Dial(t.Context(), testInstance)
				if err != nil {
					t.Fatalf("the refusal comes at the first Read, not in Dial: %v", err)
				}
				defer c.Close()
				err = echo(c)
				var e *cloudsqlconn.Error
				if !errors.As(err, &e) || e.Op != "handshake" || e.Hint == "" || !errors.Is(err, driver.ErrBadConn) {
					t.Fatalf("first Read: got %v, want a refusal", err)
				}
				w.wantDial()
				w.wantCalls(4)
			})
		})
	}
}

func TestACertificateThatIsAlwaysRefusedDoesNotHammerTheAPI(t *testing.T) {
	// The server's clock is two hours ahead: to it every certificate has expired.
	inWorld(t, cloudsqltest.Instance{ClockSkew: 2 * time.Hour}, func(t *testing.T, w *world) {
		for range 50 {
			if err := w.dial(time.Second); !errors.Is(err, driver.ErrBadConn) {
				t.Fatalf("got %v, want a refusal at the first Read", err)
			}
		}
		if n := w.calls(); n > 6 {
			t.Errorf("%d Admin API calls, want 6 at the most", n)
		}
	})
}

// F23
func TestNamesMatchAsTheyShould(t *testing.T) {
	for name, cfg := range map[string]cloudsqltest.Instance{
		"trailing dot":                        {CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"abc.def.europe-west1.sql.goog."}},
		"upper case":                          {CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"ABC.def.europe-west1.sql.goog"}},
		"wildcard":                            {CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"abc.example.com"}, AlterServerCert: func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com"} }},
		"intermediate only in the handshake":  {CAMode: cloudsqltest.GoogleCAS, RootAnchorOnly: true},
		"name in metadata but not in the SAN": {DNSNames: []string{"new.example.com"}, AlterServerCert: func(c *x509.Certificate) { c.DNSNames = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cfg, func(t *testing.T, w *world) {
				w.wantDial()
				w.wantCalls(2)
			})
		})
	}
}

// A TXT record that somebody has changed leads to an instance whose certificate
// does not have the name: no password goes there.
func TestADomainThatIsNotInTheCertificateIsRefused(t *testing.T) {
	const own = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog"
	listed := func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, testDomain) }
	for name, tt := range map[string]struct {
		cfg     cloudsqltest.Instance
		dialled string
		opts    []cloudsqlconn.Option
		good    bool
	}{
		"not in it, shared CA":           {cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS}, testDomain, nil, false},
		"not in it, customer-managed CA": {cloudsqltest.Instance{CAMode: cloudsqltest.CustomerCAS}, testDomain, nil, false},
		"not in it, and that is enough":  {cloudsqltest.Instance{CAMode: cloudsqltest.CustomerCAS}, testDomain, []cloudsqlconn.Option{cloudsqlconn.WithUnlistedDomain(true)}, true},
		"in it":                          {cloudsqltest.Instance{CAMode: cloudsqltest.CustomerCAS, AlterServerCert: listed}, testDomain, nil, true},
		"common name of the instance":    {cloudsqltest.Instance{}, testDomain, nil, true},
		"instance connection name":       {cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS}, testInstance, nil, true},
		"Cloud SQL's own name":           {cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{own + "."}}, own, nil, true},
		"an alias of it":                 {cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{own + "."}}, "alias.example.com", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorldWithNames(t, tt.cfg, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
				dns.SetCNAME("alias.example.com", own)
				c, err := w.dialer.Dial(t.Context(), tt.dialled)
				if tt.good {
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if err := echo(c); err != nil {
						t.Error(err)
					}
				} else if !errors.Is(err, cloudsqlconn.ErrUnverified) || !strings.Contains(err.Error(), "not for the DNS name that was dialled") || !strings.Contains(cloudsqlconn.Hint(err), "WithUnlistedDomain") {
					t.Errorf("got %v, with the hint %q", err, cloudsqlconn.Hint(err))
				}
				report, _ := w.dialer.Check(t.Context(), tt.dialled) // the database is none
				for _, step := range report.Steps {
					if step.Hop == cloudsqlconn.HopTLS && (step.Err == nil) != tt.good {
						t.Errorf("Check: %v", step.Err)
					}
				}
				if refused := w.instance.Counts().Distrusted > 0; refused == tt.good {
					t.Errorf("a server was distrusted: %t", refused)
				}
			}, tt.opts...)
		})
	}
}

// F24
func TestAnotherServerIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		mode  cloudsqltest.CAMode
		alter func(*x509.Certificate)
		want  []string
	}{
		{"wrong CN", cloudsqltest.LegacyCA, func(c *x509.Certificate) { c.Subject.CommonName = "my-project:other" },
			[]string{"is for another server", `"my-project:my-db"`, `"my-project:other"`, "GOOGLE_MANAGED_INTERNAL_CA"}},
		{"wrong SAN", cloudsqltest.GoogleCAS, func(c *x509.Certificate) { c.DNSNames = []string{"other.example.com"} },
			[]string{"is for another server", ".europe-west1.sql.goog", "other.example.com", "GOOGLE_MANAGED_CAS_CA"}},
		{"expired", cloudsqltest.LegacyCA, func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Minute) },
			[]string{"expired", `"my-project:my-db"`}},
		{"client certificate", cloudsqltest.LegacyCA, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
			[]string{"incompatible key usage"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{CAMode: tt.mode, AlterServerCert: tt.alter}, func(t *testing.T, w *world) {
				e := w.wantError(cloudsqlconn.ErrUnverified, time.Second)
				for _, text := range tt.want {
					if !strings.Contains(e.Error(), text) {
						t.Errorf("error %q does not tell %q", e, text)
					}
				}
				if e.Op != "handshake" || e.Hint == "" {
					t.Errorf("got op %q, hint %q", e.Op, e.Hint)
				}
			})
		})
	}
}

// F24
func TestAnotherInstancesServerIsRefused(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		const impostor = "my-project:europe-west1:impostor"
		other := w.AddInstance(impostor, cloudsqltest.Instance{})
		// Both exchange their addresses behind the API's back.
		w.wantDial()
		w.instance.SetAddrs(movedTo)
		other.SetAddrs(publicOnly)
		w.fault.Store(status(503)) // so that the Dialer cannot learn it
		e := w.wantError(cloudsqlconn.ErrUnverified, 5*time.Second)
		if !strings.Contains(e.Error(), "does not chain to the instance's server CA") {
			t.Errorf("got %q", e)
		}
		if other.Accepted() == 0 {
			t.Error("the fault did not happen")
		}
		w.fault.Store(nil)
		w.wantDial() // learns the new address
	})
}

func TestConnectionsAreTLS13AndResumed(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		for i := range 3 {
			c, err := w.dialer.Dial(t.Context(), testInstance)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(c); err != nil {
				t.Fatal(err)
			}
			state := c.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
			if state.Version != tls.VersionTLS13 || state.DidResume != (i > 0) {
				t.Errorf("connection %d: %s, resumed %v", i, tls.VersionName(state.Version), state.DidResume)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
