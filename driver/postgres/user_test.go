package postgres_test

import (
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// users is a PostgreSQL that tells who has come.
type users chan string

func (u users) serve(c net.Conn) {
	backend := pgproto3.NewBackend(c, c)
	if msg, err := backend.ReceiveStartupMessage(); err == nil {
		u <- msg.(*pgproto3.StartupMessage).Parameters["user"]
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = backend.Flush()
	_, _ = backend.Receive()
}

// as returns a Dialer with the credentials of account, and who comes.
func as(t *testing.T, account string) (*cloudsqlconn.Dialer, users) {
	t.Helper()
	came := make(users, 10)
	s, _ := kit(t, cloudsqltest.Instance{Handler: came.serve})
	tokens := authtest.NewServer(s.Token(), s.LoginToken())
	t.Cleanup(tokens.Close)
	return newDialer(t,
		cloudsqlconn.WithAdminAPIEndpoint(s.URL()), cloudsqlconn.WithDialFunc(s.DialContext), cloudsqlconn.WithIAMAuthN(true),
		cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: authtest.CloudToken})),
		cloudsqlconn.WithImpersonation(account), cloudsqlconn.WithHTTPClient(tokens.Client())), came
}

const account = "app@my-project.iam.gserviceaccount.com"

// The operating system's user is somebody's name if it is given, wherever: it was
// taken for nobody's, and the service account logged in.
func TestTheUserWhoIsNamedLogsIn(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	services := filepath.Join(t.TempDir(), "services")
	text := "[mine]\nuser=" + me.Username + "\n[nobodys]\ndbname=shop\n[other's]\nuser=other@example.com\n"
	if err := os.WriteFile(services, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dsn  string // but for the host
		env  map[string]string
		want string
	}{
		{"", nil, "app@my-project.iam"},
		{"user=''", nil, "app@my-project.iam"},
		{"postgres:///shop", nil, "app@my-project.iam"},
		{"user=" + me.Username, nil, me.Username},
		{"user = '" + me.Username + "'", nil, me.Username},
		{`password='a user=x' dbname=shop user=` + me.Username, nil, me.Username},
		{`password='user=me'`, nil, "app@my-project.iam"},
		{"postgres://" + me.Username + "@/shop", nil, me.Username},
		{"postgresql://" + me.Username + ":pass?word@/shop", nil, me.Username},
		{"postgres:///shop?user=" + me.Username, nil, me.Username},
		{"postgres://:secret@/shop?application_name=user", nil, "app@my-project.iam"},
		{"", map[string]string{"PGUSER": me.Username}, me.Username},
		{"service=mine servicefile=" + services, nil, me.Username},
		{"service=nobodys servicefile=" + services, nil, "app@my-project.iam"},
		{`service='other\'s' servicefile=` + services, nil, "other@example.com"},
		{`service=other\'s`, map[string]string{"PGSERVICEFILE": services}, "other@example.com"},
		{"", map[string]string{"PGSERVICEFILE": services, "PGSERVICE": "mine"}, me.Username},
		{"postgres:///shop?service=mine&servicefile=" + services, nil, me.Username},
		{"user=First.Last@Example.com", nil, "first.last@example.com"},
		{"user=APP@my-project.iam.gserviceaccount.com", nil, "app@my-project.iam"},
	} {
		t.Run(tt.dsn, func(t *testing.T) {
			t.Setenv("PGHOST", instance)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			d, came := as(t, account)
			c, err := postgres.NewConnector(d, tt.dsn)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := c.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := <-came; got != tt.want {
				t.Errorf("%s has come, want %s", got, tt.want)
			}
		})
	}
}

func TestConfigureCompletesTheUserOfAnIAMLogin(t *testing.T) {
	t.Parallel()
	d, came := as(t, account)
	parse := func(d *cloudsqlconn.Dialer) *pgx.ConnConfig {
		t.Helper()
		cfg, err := pgx.ParseConfig("dbname=shop host=" + instance)
		if err != nil {
			t.Fatal(err)
		}
		if err := postgres.Configure(d, cfg, cloudsqlconn.WithIAMAuthN(true)); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	cfg := parse(d)
	for range 2 {
		c, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close(t.Context())
		if got := <-came; got != "app@my-project.iam" || c.Config().User != got || cfg.User != "" {
			t.Errorf("%q has come, with a configuration of %q", got, c.Config().User)
		}
	}

	// Of pgconn's connections cfg is not their own.
	if _, err := pgconn.ConnectConfig(t.Context(), &cfg.Config); !errors.Is(err, cloudsqlconn.ErrConfig) || cloudsqlconn.Hint(err) == "" {
		t.Errorf("pgconn: got %v", err)
	}

	// The credentials do not tell whose they are.
	s, _ := kit(t, cloudsqltest.Instance{Handler: came.serve})
	_, err := pgx.ConnectConfig(t.Context(), parse(newDialer(t, s.Options()...)))
	if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "has no user") || cloudsqlconn.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	if len(came) > 0 {
		t.Errorf("%q has come", <-came)
	}
}

// A name that the program has put in is its own.
func TestConfigureKeepsTheProgramsUser(t *testing.T) {
	t.Parallel()
	cfg, err := pgx.ParseConfig("dbname=shop host=" + instance)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User = "Somebody@Example.com"
	if err := postgres.Configure(newDialer(t), cfg, cloudsqlconn.WithIAMAuthN(true)); err != nil || cfg.User != "somebody@example.com" {
		t.Errorf("the user is %q, %v", cfg.User, err)
	}
}

func TestAnIAMLoginOfNobodyDialsNothing(t *testing.T) {
	t.Parallel()
	s, p := kit(t, cloudsqltest.Instance{})
	d := newDialer(t, s.Options()...)
	const dsn = "cloudsql_iam_authn=true host=" + instance
	c, err := postgres.NewConnector(d, dsn)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Connect(t.Context())
	pool, poolErr := postgres.NewPool(t.Context(), d, dsn)
	if poolErr != nil {
		t.Fatal(poolErr)
	}
	defer pool.Close()
	for _, err := range []error{err, pool.Ping(t.Context())} {
		if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "add the user") || cloudsqlconn.Hint(err) == "" {
			t.Errorf("got %v", err)
		}
	}
	if p.Accepted() != 0 || len(s.Requests()) != 0 {
		t.Errorf("%d connections, %d calls of the Admin API", p.Accepted(), len(s.Requests()))
	}
}
