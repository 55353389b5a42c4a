package interop

import (
	"crypto/x509"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestClientsConnectAndQuery(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		w.onlyAddress(cloudsqlconn.PublicIP)
		s := c.start(t, w)
		wantLogin(t, w, s)
		wantLogin(t, w, s)
		if n := w.proxy.Counts().Handshakes; n < 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

func TestClientsConnectToCASInstances(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"12ab.34cd.europe-west1.sql.goog"}})
		wantLogin(t, w, c.start(t, w))
	})
}

func TestClientsLogInWithIAM(t *testing.T) {
	withIAM := slices.DeleteFunc(slices.Clone(clients), func(c client) bool { return c.engine.iamUser == "" })
	each(t, withIAM, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		w.iam = true
		wantLogin(t, w, c.start(t, w))
	})
}

func TestClientsConnectToThePrivateAddress(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		w.private = true
		w.onlyAddress(cloudsqlconn.PrivateIP)
		wantLogin(t, w, c.start(t, w))
	})
}

// The first certificate lives for a short time, the others as usual.
func TestClientsOutliveAShortLivedCertificate(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		const life = 15 * time.Second
		var mu sync.Mutex // guards expiry
		var expiry time.Time
		w := newWorld(t, c.engine, cloudsqltest.Instance{AlterClientCert: func(cert *x509.Certificate) {
			mu.Lock()
			defer mu.Unlock()
			if expiry.IsZero() {
				expiry = time.Now().Add(life)
				cert.NotAfter = expiry
			}
		}})
		s := c.start(t, w)
		wantLogin(t, w, s)
		expired := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().After(expiry.Add(time.Second))
		}
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for !expired() {
			<-tick.C
		}
		wantRecovery(t, w, s)
		if n := w.calls(cloudsqltest.GenerateEphemeralCert); n < 2 {
			t.Errorf("%d certificates were asked for, want 2", n)
		}
		t.Logf("connections with an expired certificate: %d", w.proxy.Counts().Rejected)
	})
}

func TestClientsSurviveAServerCARotation(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{})
		s := c.start(t, w)
		wantLogin(t, w, s)
		before := w.calls(cloudsqltest.ConnectSettings)
		w.proxy.RotateServerCA()
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
		s := c.start(t, w)
		wantLogin(t, w, s)
		w.proxy.RotateClientCA()
		wantRecovery(t, w, s)
		// Clients in Go see that the instance takes certificates of another CA, and
		// show none: these are counted as Failed.
		if n := w.proxy.Counts(); n.Rejected+n.Failed == 0 {
			t.Error("the instance has refused no client")
		}
	})
}

// eachClient runs a test for every client.
func eachClient(t *testing.T, test func(*testing.T, client)) {
	t.Helper()
	each(t, clients, test)
}

func each(t *testing.T, clients []client, test func(*testing.T, client)) {
	t.Helper()
	t.Parallel()
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}
