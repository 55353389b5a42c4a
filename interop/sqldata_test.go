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
	"testing"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"

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

// TestSQLDataOfGooglesClients has them reach PostgreSQL through SQL Data, without
// the Admin API, an address or a certificate.
func TestSQLDataOfGooglesClients(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		start func(*testing.T, *world) session
	}{
		{"go-pgx", startGoClient},
		{"proxy-psql", startPsql},
		{"node-pg", startNode},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, postgresEngine, cloudsqltest.Instance{SQLData: true})
			w.serveSQLData(t)
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
}

// goClientConfig is the environment variable that makes the test binary a program
// that uses Google's connector: one reads its root certificates once.
const goClientConfig = "INTEROP_GO_CLIENT"

type goConfig struct{ Endpoint, SQLData, Token, User, Password, Database string }

func startGoClient(t *testing.T, w *world) session {
	t.Helper()
	config, err := json.Marshal(goConfig{w.kit.URL(), w.sqlDataAddr(), w.kit.Token(), w.user(), w.password(), database})
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
		cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithSQLData()))
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
