package interop

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

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

// streamClient is a client that speaks SQL Data, and what it is known to do.
type streamClient struct {
	name string
	open func(*world) clients.Open

	timeout         time.Duration // of a stream
	params          string        // x-goog-request-params
	userAgent       string        // a pattern
	fallsBackOnText bool          // whatever the text of the refusal is
}

var streamClients = []streamClient{
	{"go-pgx", func(w *world) clients.Open { return clients.GoSQLData(w.kit.Token()) }, 2 * time.Hour, locationFirst, `^cloud-sql-go-connector/[\d.]+ grpc-go/[\d.]+$`, false},
	{"proxy-psql", func(*world) clients.Open { return clients.Psql }, 2 * time.Hour, locationFirst, `^cloud-sql-go-connector/[\d.]+ cloud-sql-proxy/[\d.]+ grpc-go/[\d.]+$`, false},
	{"node-pg", func(*world) clients.Open { return clients.Node("pg") }, 30 * time.Second, instanceFirst, `^grpc-node-js/[\d.]+$`, true},
	{"python-pg8000", func(w *world) clients.Open { return clients.PythonSQLData("pg8000", w.kit.Token()) }, 2 * time.Hour, instanceFirst, `^grpc-python`, true},
}

const (
	locationFirst = "location_id=locations/europe-west1&instance_id=projects/my-project/instances/my-db"
	instanceFirst = "instance_id=projects/my-project/instances/my-db&location_id=locations/europe-west1"
)

// eachStreamClient has a client of an instance use SQL Data.
func eachStreamClient(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, c streamClient, w *world)) {
	t.Helper()
	t.Parallel()
	for _, c := range streamClients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, postgresEngine, cfg)
			w.serveSQLData(t)
			test(t, c, w)
		})
	}
}

// They reach PostgreSQL through SQL Data, without the Admin API, an address or a
// certificate.
func TestSQLDataOfGooglesClients(t *testing.T) {
	eachStreamClient(t, cloudsqltest.Instance{SQLData: true}, func(t *testing.T, c streamClient, w *world) {
		s := w.start(t, c.open(w))
		for range 3 {
			wantLogin(t, w, s)
		}
		if n := w.emulated.Counts().Handshakes; n != 0 {
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

// What cloudsqltest's documentation tells of the streams.
func TestSQLDataClientsSendWhatIsKnown(t *testing.T) {
	eachStreamClient(t, cloudsqltest.Instance{SQLData: true}, func(t *testing.T, c streamClient, w *world) {
		wantLogin(t, w, w.start(t, c.open(w)))
		stream := w.sqlData.Streams()[0]
		if took := c.timeout - stream.Timeout; took < 0 || took > time.Minute {
			t.Errorf("the timeout is %v, want %v", stream.Timeout, c.timeout)
		}
		if got := stream.Header.Get("x-goog-request-params"); len(got) != 1 || got[0] != c.params {
			t.Errorf("x-goog-request-params: %q, want %q", got, c.params)
		}
		if got := stream.Header.Get("user-agent"); len(got) != 1 || !regexp.MustCompile(c.userAgent).MatchString(got[0]) {
			t.Errorf("the user agent is %q, want %s", got, c.userAgent)
		}
		if stream.SessionID != "" || stream.Acks != 0 || stream.Offset != 0 || stream.Unknown != nil {
			t.Errorf("it can resume sessions: %+v", stream)
		}
	})
}

func TestSQLDataClientsAskForNoIAMLogin(t *testing.T) {
	eachStreamClient(t, cloudsqltest.Instance{SQLData: true}, func(t *testing.T, c streamClient, w *world) {
		w.iam = true
		s := w.start(t, c.open(w))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if user, err := s(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("logged in as %q, %v", user, err)
		}
		streams := w.sqlData.Streams()
		if len(streams) == 0 || streams[0].AuthenticationType != 0 {
			t.Errorf("the streams: %+v", streams)
		}
	})
}

func TestSQLDataClientsFallBackToAnAddress(t *testing.T) {
	eachStreamClient(t, cloudsqltest.Instance{}, func(t *testing.T, c streamClient, w *world) {
		wantLogin(t, w, w.start(t, c.open(w)))
		if n := w.emulated.Counts().Handshakes; n == 0 || len(w.sqlData.Streams()) == 0 {
			t.Errorf("%d connections by an address, %d streams", n, len(w.sqlData.Streams()))
		}
	})
}

func TestSQLDataClientsThatFallBackWhateverTheTextIs(t *testing.T) {
	eachStreamClient(t, cloudsqltest.Instance{SQLData: true}, func(t *testing.T, c streamClient, w *world) {
		refusal := &cloudsqltest.StreamFault{Status: cloudsqltest.StreamStatus(codes.FailedPrecondition, cloudsqltest.TunnelRefusal, "", 0)}
		w.emulated.SetStreamFault(refusal)
		s := w.start(t, c.open(w))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		user, err := s(ctx)
		if w.sqlData.Hits(refusal) == 0 || ctx.Err() != nil {
			t.Fatalf("the fault did not happen: %v", err)
		}
		if works := err == nil; works != c.fallsBackOnText {
			t.Errorf("user %q, error %v", user, err)
		}
	})
}
