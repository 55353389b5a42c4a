package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"
	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
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
	name  string
	start func(*testing.T, *world) session

	timeout         time.Duration // of a stream
	params          string        // x-goog-request-params
	userAgent       string        // a pattern
	fallsBackOnText bool          // whatever the text of the refusal is
}

var streamClients = []streamClient{
	{"go-pgx", startGoClient, 2 * time.Hour, locationFirst, `^cloud-sql-go-connector/[\d.]+ grpc-go/[\d.]+$`, false},
	{"proxy-psql", startPsql, 2 * time.Hour, locationFirst, `^cloud-sql-go-connector/[\d.]+ cloud-sql-proxy/[\d.]+ grpc-go/[\d.]+$`, false},
	{"node-pg", startNode, 30 * time.Second, instanceFirst, `^grpc-node-js/[\d.]+$`, true},
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
		s := c.start(t, w)
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

// What cloudsqltest's documentation tells of the streams.
func TestSQLDataClientsSendWhatIsKnown(t *testing.T) {
	eachStreamClient(t, cloudsqltest.Instance{SQLData: true}, func(t *testing.T, c streamClient, w *world) {
		wantLogin(t, w, c.start(t, w))
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
		s := c.start(t, w)
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
		wantLogin(t, w, c.start(t, w))
		if n := w.proxy.Counts().Handshakes; n == 0 || len(w.sqlData.Streams()) == 0 {
			t.Errorf("%d connections by an address, %d streams", n, len(w.sqlData.Streams()))
		}
	})
}

func TestSQLDataClientsThatFallBackWhateverTheTextIs(t *testing.T) {
	eachStreamClient(t, cloudsqltest.Instance{SQLData: true}, func(t *testing.T, c streamClient, w *world) {
		refusal := &cloudsqltest.StreamFault{Status: cloudsqltest.StreamStatus(codes.FailedPrecondition, cloudsqltest.TunnelRefusal, "", 0)}
		w.proxy.SetStreamFault(refusal)
		s := c.start(t, w)
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

// goClientConfig is the environment variable that makes the test binary a program
// that uses Google's connector: one reads its root certificates once.
const goClientConfig = "INTEROP_GO_CLIENT"

type goConfig struct {
	Endpoint, SQLData, Token, User, Password, Database string
	IAM                                                bool
}

func startGoClient(t *testing.T, w *world) session {
	t.Helper()
	config, err := json.Marshal(goConfig{w.kit.URL(), w.sqlDataAddr(), w.kit.Token(), w.user(), w.password(), database, w.iam})
	wantNil(t, err)
	self, err := os.Executable()
	wantNil(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), goClientConfig+"="+string(config), "SSL_CERT_FILE="+w.sqlDataCA)
	p := start(t, cmd)
	return func(ctx context.Context) (string, error) {
		if _, err := fmt.Fprintln(p.stdin); err != nil {
			return "", fmt.Errorf("%w: %s", err, &p.log)
		}
		line, err := p.line(ctx)
		if err != nil {
			return "", err
		}
		var answer struct{ User, Error string }
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			return "", err
		}
		if answer.Error != "" {
			return "", errors.New(answer.Error)
		}
		return answer.User, nil
	}
}

// goClient connects with pgx once for each line that it reads, and answers as
// node/client.mjs does.
func goClient(config string) int {
	var c goConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	token := &oauth2.Token{AccessToken: c.Token, Expiry: time.Now().Add(time.Hour)}
	d, err := cloudsqlconn.NewDialer(ctx,
		cloudsqlconn.WithAdminAPIEndpoint(c.Endpoint),
		cloudsqlconn.WithSQLDataEndpoint(c.SQLData),
		cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(token)),
		cloudsqlconn.WithBuiltInMetrics(false),
		cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithSQLData(), cloudsqlconn.WithDialIAMAuthN(c.IAM)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer d.Close()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		user, err := goLogin(ctx, d, c)
		answer := map[string]string{"user": user}
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		_ = json.NewEncoder(os.Stdout).Encode(answer)
	}
	return 0
}

// goLogin asks who has logged in, and for some megabytes.
func goLogin(ctx context.Context, d *cloudsqlconn.Dialer, c goConfig) (user string, err error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=localhost user=%s password='%s' dbname=%s sslmode=disable", c.User, c.Password, c.Database))
	if err != nil {
		return "", err
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx, instanceName) }
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var text string
	const size = 5_000_000
	err = conn.QueryRow(ctx, "select current_user, repeat('x', $1)", size).Scan(&user, &text)
	if err == nil && len(text) != size {
		err = fmt.Errorf("%d bytes came, want %d", len(text), size)
	}
	return user, err
}
