package postgres_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// withPassword is a PostgreSQL that asks for a password, and knows no parameters
// but these.
func withPassword(t *testing.T) func(net.Conn) {
	known := []string{"user", "database", "application_name", "search_path"}
	return func(c net.Conn) {
		backend := pgproto3.NewBackend(c, c)
		msg, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		startup, ok := msg.(*pgproto3.StartupMessage)
		if !ok {
			t.Errorf("the server was sent a %T", msg)
			return
		}
		for name := range startup.Parameters {
			if !slices.Contains(known, name) {
				t.Errorf("the server was sent the parameter %s", name)
			}
		}
		backend.Send(&pgproto3.AuthenticationCleartextPassword{})
		if err := backend.Flush(); err != nil {
			return
		}
		_ = backend.SetAuthType(pgproto3.AuthTypeCleartextPassword)
		if _, err := backend.Receive(); err != nil {
			return
		}
		backend.Send(&pgproto3.AuthenticationOk{})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		_ = backend.Flush()
		_, _ = backend.Receive()
	}
}

// The table in the package's documentation, line by line: each setting stops
// nobody, whether it is in the data source name, or in the environment.
func TestSettingsOfADirectConnectionStopNobody(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.pem")
	home := t.TempDir() // with garbage in ~/.postgresql
	if err := os.Mkdir(filepath.Join(home, ".postgresql"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"root.crt", "postgresql.crt", "postgresql.key"} {
		if err := os.WriteFile(filepath.Join(home, ".postgresql", file), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	if _, err := pgx.ParseConfig("host=db.example.com"); err == nil {
		t.Fatal("the fault did not happen: pgx does not mind the garbage")
	}
	for _, tt := range []struct{ settings, env string }{
		{},
		{"port=5432", "PGPORT=5432"},
		{"hostaddr=192.0.2.1", ""},
		{"sslmode=disable", "PGSSLMODE=disable"},
		{"sslmode=require", "PGSSLMODE=require"},
		{"sslmode=verify-ca", "PGSSLMODE=verify-ca"},
		{"sslmode=verify-full", "PGSSLMODE=verify-full"},
		{"sslmode=verify-full sslrootcert=" + missing, "PGSSLROOTCERT=" + missing},
		{"sslrootcert=system", "PGSSLROOTCERT=system"},
		{"sslmode=verify-ca sslcert=" + missing + " sslkey=" + missing, "PGSSLCERT=" + missing + " PGSSLKEY=" + missing},
		{"sslcert=" + missing, "PGSSLCERT=" + missing},
		{"sslpassword=x", "PGSSLPASSWORD=x"},
		{"sslsni=0", "PGSSLSNI=0"},
		{"sslnegotiation=direct sslmode=require", "PGSSLNEGOTIATION=direct"},
		{"sslcertmode=require", "PGSSLCERTMODE=require"},
		{"sslcertmode=disable", "PGSSLCERTMODE=disable"},
		{"sslcrl=" + missing + " sslcrldir=" + missing + " sslcompression=0 sslkeylogfile=" + missing + " requiressl=1", ""},
		{"ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.3", ""},
		{"channel_binding=require", "PGCHANNELBINDING=require"},
		{"require_auth=scram-sha-256,password", "PGREQUIREAUTH=scram-sha-256,password"},
		{"require_auth=!gss,!sspi", ""},
		{"cloudsql_iam_authn=true require_auth=gss", "PGREQUIREAUTH=scram-sha-256"},
		{"gssencmode=disable gssdelegation=0 gsslib=gssapi requirepeer=postgres", ""},
		{"keepalives=1 keepalives_idle=30 keepalives_interval=30 keepalives_count=3 tcp_user_timeout=1000", ""},
		{"load_balance_hosts=random", ""},
		{"load_balance_hosts=disable", ""},
		{"connect_timeout=30", "PGCONNECT_TIMEOUT=30"},
	} {
		iam := ""
		if strings.Contains(tt.settings, "iam") {
			iam = "&cloudsql_iam_authn=true"
		}
		for dsn, env := range map[string]string{
			"user=app password=secret host=" + instance + " " + tt.settings:                                      "",
			"postgres://app:secret@/?host=" + instance + "&" + strings.ReplaceAll(tt.settings, " ", "&"):         "",
			"postgres://app:secret@/?application_name=env&host=" + instance + iam:                                tt.env,
			"user=app password=secret application_name=env host=" + instance + strings.Replace(iam, "&", " ", 1): tt.env,
		} {
			t.Run(dsn+" "+env, func(t *testing.T) {
				for setting := range strings.FieldsSeq(env) {
					name, value, _ := strings.Cut(setting, "=")
					t.Setenv(name, value)
				}
				s, _ := kit(t, cloudsqltest.Instance{Handler: withPassword(t)})
				d := newDialer(t, s.Options()...)
				c, err := postgres.NewConnector(d, dsn)
				if err != nil {
					t.Fatal(err)
				}
				conn, err := c.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.Close()
				pool, err := postgres.NewPool(t.Context(), d, dsn)
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close()
				one, err := pool.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				one.Release()
			})
		}
	}
}
