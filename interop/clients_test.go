package interop

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

func TestClientsConnectAndQuery(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		w.onlyAddress(cloudsqlconn.PublicIP)
		s := w.start(t, c.open)
		wantLogin(t, w, s)
		wantLogin(t, w, s)
		if n := w.emulated.Counts().Handshakes; n < 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

func TestClientsConnectToCASInstances(t *testing.T) {
	for _, mode := range []cloudsqltest.CAMode{cloudsqltest.GoogleCAS, cloudsqltest.CustomerCAS} {
		t.Run(string(mode), func(t *testing.T) {
			eachClient(t, func(t *testing.T, c client) {
				w := newWorld(t, c.engine, cloudsqltest.Instance{CAMode: mode, DNSNames: []string{"12ab.34cd.europe-west1.sql.goog"}})
				wantLogin(t, w, w.start(t, c.open))
			})
		})
	}
}

func TestClientsLogInWithIAM(t *testing.T) {
	withIAM := slices.DeleteFunc(slices.Clone(allClients), func(c client) bool { return c.engine.iamUser == "" })
	each(t, withIAM, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		w.iam = true
		wantLogin(t, w, w.start(t, c.open))
	})
}

func TestClientsConnectToThePrivateAddress(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		w.private = true
		w.onlyAddress(cloudsqlconn.PrivateIP)
		wantLogin(t, w, w.start(t, c.open))
	})
}

// shortLife is how long a certificate lives in some tests.
const shortLife = 15 * time.Second

// The first certificate lives for a short time, the others as usual.
func TestClientsOutliveAShortLivedCertificate(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		var first sync.Once
		w := newWorld(t, c.engine, cloudsqltest.Instance{AlterClientCert: func(cert *x509.Certificate) {
			first.Do(func() { cert.NotAfter = time.Now().Add(shortLife) })
		}})
		s := w.start(t, c.open)
		wantLogin(t, w, s)
		after(shortLife + time.Second)
		wantRecovery(t, w, s)
		if n := w.calls(cloudsqltest.GenerateEphemeralCert); n < 2 {
			t.Errorf("%d certificates were asked for, want 2", n)
		}
		t.Logf("connections with an expired certificate: %d", w.emulated.Counts().Rejected)
	})
}

// Nobody asks for a certificate before somebody connects, not even when the one
// that is there is due: all clients renew it 4 minutes before its end.
func TestLazyClientsRefreshWhenSomebodyConnects(t *testing.T) {
	each(t, which(lazy), func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{CertTTL: 4*time.Minute + shortLife})
		w.lazy = true
		s := w.start(t, c.open)
		wantLogin(t, w, s)
		before := w.calls(cloudsqltest.GenerateEphemeralCert)
		after(shortLife + time.Second)
		if n := w.calls(cloudsqltest.GenerateEphemeralCert); n != before {
			t.Fatalf("%d certificates were asked for before somebody connected, want %d", n, before)
		}
		wantLogin(t, w, s)
		if w.calls(cloudsqltest.GenerateEphemeralCert) == before {
			t.Error("no other certificate was asked for")
		}
	})
}

func TestClientsSurviveAStoppedInstance(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		s := w.start(t, c.open)
		wantLogin(t, w, s)
		w.emulated.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began := time.Now()
		user, err := s(ctx)
		switch {
		case err == nil:
			t.Fatalf("%q has logged in at a stopped instance", user)
		case ctx.Err() != nil:
			t.Fatalf("no error came for %v", patience)
		}
		if c, err := net.Dial("tcp", net.JoinHostPort(w.emulated.Addrs()[cloudsqlconn.PublicIP], "3307")); err == nil {
			_ = c.Close()
			t.Fatal("the instance is not stopped")
		}
		t.Logf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
		w.emulated.Start()
		wantRecovery(t, w, s)
	})
}

func TestClientsSurviveAServerCARotation(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		s := w.start(t, c.open)
		wantLogin(t, w, s)
		before := w.calls(cloudsqltest.ConnectSettings)
		w.emulated.RotateServerCA()
		if c.can&heedServerCA == 0 {
			wantNoRefresh(t, w, s)
			return
		}
		wantRecovery(t, w, s)
		// How a client ends the connection to a server that it does not trust is
		// its own affair.
		if w.calls(cloudsqltest.ConnectSettings) == before {
			t.Error("the client has not asked for the new CA")
		}
	})
}

func TestClientsSurviveAClientCARotation(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		s := w.start(t, c.open)
		wantLogin(t, w, s)
		w.emulated.RotateClientCA()
		if c.can&heedClientCA == 0 {
			wantNoRefresh(t, w, s)
		} else {
			wantRecovery(t, w, s)
		}
		// Who sees that the instance takes certificates of another CA, and shows
		// none, is counted as Failed.
		if n := w.emulated.Counts(); (n.Rejected != 0) != (c.can&showOld != 0) || n.Rejected+n.Failed == 0 {
			t.Errorf("%d connections were rejected, and %d failed", n.Rejected, n.Failed)
		}
	})
}

// after lets certificates expire: other programs look at the real clock.
func after(d time.Duration) { <-time.After(d) }

// eachClient runs a test for every client.
func eachClient(t *testing.T, test func(*testing.T, client)) {
	t.Helper()
	each(t, allClients, test)
}

// which returns the clients that have all of these abilities.
func which(can ability) []client {
	return slices.DeleteFunc(slices.Clone(allClients), func(c client) bool { return c.can&can != can })
}

func each(t *testing.T, list []client, test func(*testing.T, client)) {
	t.Helper()
	t.Parallel()
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

// The creators of the connector's README, for each driver that SQLAlchemy has
// itself.
func TestSQLAlchemyConnectsAsTheReadmeShows(t *testing.T) {
	each(t, []client{
		{name: "pg8000", engine: postgresEngine, open: clients.Python("sqlalchemy-pg8000")},
		{name: "psycopg", engine: postgresEngine, open: clients.Python("sqlalchemy-psycopg")},
		{name: "asyncpg", engine: postgresEngine, open: clients.Python("sqlalchemy-asyncpg")},
		{name: "pymysql", engine: mysqlEngine, open: clients.Python("sqlalchemy-pymysql")},
	}, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		s := w.start(t, c.open)
		wantLogin(t, w, s)
		wantLogin(t, w, s)
	})
}
