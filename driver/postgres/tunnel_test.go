package postgres_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// kit is an emulated cloud with one instance, which handler serves.
func kit(t *testing.T, cfg cloudsqltest.Instance) (*cloudsqltest.Server, *cloudsqltest.EmulatedInstance) {
	t.Helper()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	return s, s.AddInstance(instance, cfg)
}

// connected are how many connections each node has had.
func connected(p *cloudsqltest.EmulatedInstance) (counts []int) {
	for _, n := range p.Nodes() {
		counts = append(counts, n.Counts().Handshakes)
	}
	return counts
}

// elsewhere is a connection through a proxy, as all are: the other side is the
// proxy, wherever it leads.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1080}
}

func TestARequestToCancelGoesToTheNodeOfItsConnection(t *testing.T) {
	t.Parallel()
	for name, proxied := range map[string]bool{"directly": false, "through a proxy": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := kit(t, cloudsqltest.Instance{Handler: answerSelects, Nodes: make([]cloudsqltest.Node, 3)})
			opts := s.Options()
			if proxied {
				opts = append(opts, cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := s.DialContext(ctx, network, addr)
					return elsewhere{c}, err
				}))
			}
			cfg, err := pgx.ParseConfig("user=app host=" + instance)
			if err != nil {
				t.Fatal(err)
			}
			if err := postgres.Configure(newDialer(t, opts...), cfg); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				before := connected(p)
				c, err := pgx.ConnectConfig(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				on := -1
				for i, n := range connected(p) {
					if n > before[i] {
						on = i
					}
				}
				before = connected(p)
				for range 4 {
					if err := c.PgConn().CancelRequest(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				for i, n := range connected(p) {
					if want := map[bool]int{true: 4}[i == on]; n-before[i] != want {
						t.Errorf("node %d has had %d requests, want %d", i, n-before[i], want)
					}
				}

				// A connection with the configuration of another is one to itself.
				again, err := pgx.ConnectConfig(t.Context(), c.Config())
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if err := again.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// refuse is a PostgreSQL that refuses every login, in pieces of one byte.
func refuse(code string) func(net.Conn) {
	return func(c net.Conn) {
		backend := pgproto3.NewBackend(c, c)
		if _, err := backend.ReceiveStartupMessage(); err != nil {
			return
		}
		answer, err := (&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no login for you"}).Encode(nil)
		if err != nil {
			return
		}
		for i := range answer {
			if _, err := c.Write(answer[i : i+1]); err != nil {
				return
			}
		}
	}
}

func TestARefusedLoginHasItsHintWhicheverWay(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*cloudsqlconn.Dialer, string, cloudsqlconn.DialOption) error{
		"NewConnector": func(d *cloudsqlconn.Dialer, dsn string, o cloudsqlconn.DialOption) error {
			c, err := postgres.NewConnector(d, dsn, o)
			if err != nil {
				return err
			}
			_, err = c.Connect(t.Context())
			return err
		},
		"NewPool": func(d *cloudsqlconn.Dialer, dsn string, o cloudsqlconn.DialOption) error {
			pool, err := postgres.NewPool(t.Context(), d, dsn, o)
			if err != nil {
				return err
			}
			defer pool.Close()
			return pool.Ping(t.Context())
		},
		"ConfigurePool": func(d *cloudsqlconn.Dialer, dsn string, o cloudsqlconn.DialOption) error {
			cfg, err := pgxpool.ParseConfig(dsn)
			if err != nil {
				return err
			}
			if err := postgres.ConfigurePool(d, cfg, o); err != nil {
				return err
			}
			pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
			if err != nil {
				return err
			}
			defer pool.Close()
			return pool.Ping(t.Context())
		},
		"Configure": func(d *cloudsqlconn.Dialer, dsn string, o cloudsqlconn.DialOption) error {
			cfg, err := pgx.ParseConfig(dsn)
			if err != nil {
				return err
			}
			if err := postgres.Configure(d, cfg, o); err != nil {
				return err
			}
			_, err = pgx.ConnectConfig(t.Context(), cfg)
			return err
		},
		"Configure, and pgconn with a copy": func(d *cloudsqlconn.Dialer, dsn string, o cloudsqlconn.DialOption) error {
			cfg, err := pgx.ParseConfig(dsn)
			if err != nil {
				return err
			}
			if err := postgres.Configure(d, cfg, o); err != nil {
				return err
			}
			_, err = pgconn.ConnectConfig(t.Context(), cfg.Config.Copy())
			return err
		},
	}
	for name, connect := range ways {
		for _, tt := range []struct {
			code, user string
			iam        bool
			hint       string // "": none
		}{
			{"28P01", "Stranger@example.com", true, "CLOUD_IAM"},
			{"28000", "Stranger@example.com", true, "CLOUD_IAM"},
			{"53300", "Stranger@example.com", true, ""},
			{"28P01", "Stranger@example.com", false, "IAM login is off"},
			{"28P01", "stranger", false, "No password was given"},
			{"28P01", "stranger password=s3cret", false, "set-password stranger "},
			{"28000", "stranger", false, ""},
			{"3D000", "stranger", false, "gcloud sql databases list"},
			{"3D000", "Stranger@example.com", true, "gcloud sql databases list"},
			{"53300", "Stranger@example.com", false, ""},
		} {
			t.Run(name+" "+tt.code, func(t *testing.T) {
				t.Parallel()
				s, p := kit(t, cloudsqltest.Instance{Handler: refuse(tt.code)})
				// One address: a slow machine would try two in parallel.
				d := newDialer(t, append(s.Options(), cloudsqlconn.WithPublicIP())...)
				err := connect(d, "user="+tt.user+" host="+instance, cloudsqlconn.WithIAMAuthN(tt.iam))
				refused, ok := errors.AsType[*pgconn.PgError](err)
				if !ok || refused.Code != tt.code || !strings.Contains(err.Error(), "no login for you") {
					t.Fatalf("got %v, want the server's answer", err)
				}
				e, ok := errors.AsType[*cloudsqlconn.Error](err)
				switch {
				case tt.hint != "" && (!ok || e.Op != cloudsqlconn.OpLogin || e.Instance != instance || !strings.Contains(e.Hint, tt.hint)),
					tt.hint == "" && cloudsqlconn.Hint(err) != "",
					name == "NewConnector" && (!ok || e.Instance != instance): // all of its errors are
					t.Errorf("got %#v", e)
				}
				if strings.Contains(err.Error()+cloudsqlconn.Hint(err), "s3cret") {
					t.Errorf("the password is shown: %v, %s", err, cloudsqlconn.Hint(err))
				}
				s.Close() // waits for all that has come
				if n := p.Accepted(); n != 1 {
					t.Errorf("%d connections, want 1: there is nothing to cancel", n)
				}
			})
		}
	}
}

// What is no PostgreSQL is told as pgx tells it.
func TestOtherServersThanPostgreSQLUnderIAMLogin(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                   "unexpected EOF",
		"E":                                  "unexpected EOF",
		"E\x00\x00\x00\x20SFATAL":            "unexpected EOF",
		"HTTP/1.1 400 Bad Request\r\n\r\nno": "",
		"E\x00\x00\x00\x05?":                 "",
	} {
		s, p := kit(t, cloudsqltest.Instance{Handler: func(c net.Conn) {
			if _, err := pgproto3.NewBackend(c, c).ReceiveStartupMessage(); err == nil {
				_, _ = c.Write([]byte(text))
			}
		}})
		c, err := postgres.NewConnector(newDialer(t, s.Options()...), "user=me@example.com cloudsql_iam_authn=true host="+instance)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		s.Close()
		if n := p.Accepted(); n != 1 {
			t.Errorf("%q: %d connections, want 1", text, n)
		}
	}
}

// Instrumentation asks a pool for its driver, and opens by that.
func TestWhatAsksForTheDriverStaysInTheTunnel(t *testing.T) {
	t.Parallel()
	s, p := kit(t, cloudsqltest.Instance{Handler: answerSelects})
	name, dsn := registered(t, s.Options()...), "user=app host="+instance
	for _, first := range []string{"", dsn} {
		db, err := sql.Open(name, first) // as otelsql.Open does, with ""
		if err != nil {
			t.Fatal(err)
		}
		before := p.Accepted()
		c, err := db.Driver().(driver.DriverContext).OpenConnector(dsn)
		if err != nil {
			t.Fatal(err)
		}
		wrapped := sql.OpenDB(c)
		for _, db := range []*sql.DB{wrapped, sql.OpenDB(dsnConnector{dsn, wrapped.Driver()})} {
			if err := db.PingContext(t.Context()); err != nil {
				t.Error(err)
			}
			_ = db.Close()
		}
		if n := p.Accepted() - before; n != 2 {
			t.Errorf("%d connections to the instance, want 2", n)
		}
		if _, ours := db.Driver().(*stdlib.Driver); ours {
			t.Error("the driver is pgx's own")
		}
		if first == "" {
			if err := db.PingContext(t.Context()); !errors.Is(err, cloudsqlconn.ErrBadName) {
				t.Errorf("without a data source name: got %v", err)
			}
		}
		_ = db.Close()
	}
}

// dsnConnector is what database/sql makes of a driver without OpenConnector.
type dsnConnector struct {
	dsn    string
	driver driver.Driver
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }
