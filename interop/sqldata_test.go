package interop

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

// serveSQLData has the clients use SQL Data. They take no endpoint without TLS.
func (w *world) serveSQLData(t *testing.T) {
	t.Helper()
	w.sqlData = w.kit.ServeSQLData(cloudsqltest.SQLDataConfig{TLS: true})
	w.sqlDataCA = filepath.Join(t.TempDir(), "ca.pem")
	wantNil(t, os.WriteFile(w.sqlDataCA, []byte(w.sqlData.CA()), 0o600))
}

// sqlDataAddr is where SQL Data is, "" if clients are to use an address.
func (w *world) sqlDataAddr() string {
	if w.sqlData == nil {
		return ""
	}
	_, port, _ := net.SplitHostPort(w.sqlData.Addr().String())
	return "localhost:" + port // Node.js has no server name for an address
}

// TestSQLDataOfGooglesClients has them reach PostgreSQL through SQL Data, without
// the Admin API, an address or a certificate.
func TestSQLDataOfGooglesClients(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		open func(*world) clients.Open
	}{
		{"go-pgx", func(w *world) clients.Open { return clients.GoSQLData(w.kit.Token()) }},
		{"proxy-psql", func(*world) clients.Open { return clients.Psql }},
		{"node-pg", func(*world) clients.Open { return clients.Node("pg") }},
		{"python-pg8000", func(w *world) clients.Open { return clients.PythonSQLData("pg8000", w.kit.Token()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, postgresEngine, cloudsqltest.Instance{SQLData: true})
			w.serveSQLData(t)
			s := w.start(t, c.open(w))
			for range 3 {
				wantLogin(t, w, s)
			}
			if n := w.proxy.Counts().Handshakes; n != 0 {
				t.Errorf("%d connections by an address", n)
			}
			if n := w.calls(cloudsqltest.GenerateEphemeralCert); n != 0 {
				t.Errorf("%d certificates were asked for", n)
			}
			for _, stream := range w.sqlData.Streams() {
				if stream.Instance != "projects/my-project/instances/my-db" || stream.Location != "locations/europe-west1" || stream.Status != nil && stream.Received == 0 {
					t.Errorf("stream %+v", stream)
				}
			}
		})
	}
}
