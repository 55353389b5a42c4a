package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"
)

// goSQLDataTarget is the environment variable that makes a program the client of
// GoSQLData: it has the target and a token.
const goSQLDataTarget = "INTEROP_GO_SQL_DATA"

type tokenTarget struct {
	Target
	Token string
}

// GoSQLData returns how the Go connector is opened with SQL Data and pgx, and
// with a token of an hour. It is this program that runs again, since the
// connector reads its root certificates once: its main function has to call
// [ServeGoSQLData].
func GoSQLData(token string) Open {
	return func(_ context.Context, target Target) (*Session, error) {
		config, err := json.Marshal(tokenTarget{target, token})
		if err != nil {
			return nil, err
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), goSQLDataTarget+"="+string(config), "SSL_CERT_FILE="+target.SQLDataCA)
		peer, err := startPeer(cmd)
		if err != nil {
			return nil, err
		}
		return peer.session(Request{}, true), nil
	}
}

// ServeGoSQLData does nothing, unless GoSQLData has started this program. Then
// it connects with pgx once for each line of the standard input, and ends the
// process.
func ServeGoSQLData() {
	config := os.Getenv(goSQLDataTarget)
	if config == "" {
		return
	}
	if err := serveGoSQLData(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveGoSQLData(config string) error {
	var target tokenTarget
	if err := json.Unmarshal([]byte(config), &target); err != nil {
		return err
	}
	ctx := context.Background()
	token := &oauth2.Token{AccessToken: target.Token, Expiry: time.Now().Add(time.Hour)}
	d, err := cloudsqlconn.NewDialer(ctx,
		cloudsqlconn.WithAdminAPIEndpoint(target.Endpoint),
		cloudsqlconn.WithSQLDataEndpoint(target.SQLData),
		cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(token)),
		cloudsqlconn.WithBuiltInMetrics(false),
		cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithSQLData(), cloudsqlconn.WithDialIAMAuthN(target.IAM)))
	if err != nil {
		return err
	}
	defer d.Close()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var r Request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return err
		}
		a := answer{ID: r.ID}
		if a.Result, err = sqlDataLogin(ctx, d, target.Target); err != nil {
			a.Error = err.Error()
		}
		if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
			return err
		}
	}
	return nil
}

// sqlDataLogin asks who has logged in, and for some megabytes.
func sqlDataLogin(ctx context.Context, d *cloudsqlconn.Dialer, target Target) (user string, err error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=localhost user=%s password='%s' dbname=%s sslmode=disable", target.User, target.Password, target.Database))
	if err != nil {
		return "", err
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx, target.Instance) }
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
