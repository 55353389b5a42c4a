package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

const me = "me@example.com"

// tokens are the login tokens of one program. They last for an hour.
type tokens struct {
	world   *poolerWorld
	reserve time.Duration // they are handed out while they last for longer than this

	mu  sync.Mutex // guards now
	now oauth2.Token
}

func (ts *tokens) Token() (*oauth2.Token, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if time.Until(ts.now.Expiry) < ts.reserve {
		ts.now = ts.world.issue(time.Hour)
	}
	tok := ts.now
	return &tok, nil
}

// poolerWorld is an instance of PostgreSQL, and programs that use it.
type poolerWorld struct {
	*cloudsqltest.Server
	t        *testing.T
	instance *cloudsqltest.EmulatedInstance

	mu     sync.Mutex // guards everything below
	ends   map[string]time.Time
	down   bool                    // the Admin API
	logins []string                // that have come, as user/database
	hang   bool                    // logins are not answered
	answer pgproto3.BackendMessage // to a login; nil: it goes well
}

// inPoolerWorld runs a test on fake time, with a pooler or without.
func inPoolerWorld(t *testing.T, pooler bool, test func(t *testing.T, w *poolerWorld)) {
	t.Helper()
	if _, err := admin.ProcessKey(); err != nil { // outside the bubble: it takes real time
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &poolerWorld{Server: cloudsqltest.NewMemoryServer(), t: t, ends: map[string]time.Time{}}
		defer w.Close()
		w.MaxRequests = 1
		w.Principals = map[string]string{}
		for i := range 1000 {
			w.Principals[tokenName(i)] = me
		}
		w.OnRequest = func(*http.Request) *cloudsqltest.Fault {
			w.mu.Lock()
			defer w.mu.Unlock()
			if !w.down {
				return nil
			}
			return &cloudsqltest.Fault{Status: http.StatusServiceUnavailable}
		}
		cfg := cloudsqltest.Instance{Handler: w.serve}
		if pooler {
			cfg.Pooler = &cloudsqltest.Pooler{Expiry: w.end}
		}
		w.instance = w.AddInstance(instance, cfg)
		test(t, w)
	})
}

func tokenName(i int) string { return fmt.Sprintf("login-token-%d", i) }

func (w *poolerWorld) issue(life time.Duration) oauth2.Token {
	w.mu.Lock()
	defer w.mu.Unlock()
	tok := oauth2.Token{AccessToken: tokenName(len(w.ends)), Expiry: time.Now().Add(life)}
	w.ends[tok.AccessToken] = tok.Expiry
	return tok
}

func (w *poolerWorld) end(token string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ends[token]
}

// serve is a PostgreSQL that answers logins and pings.
func (w *poolerWorld) serve(c net.Conn) {
	backend := pgproto3.NewBackend(c, c)
	msg, err := backend.ReceiveStartupMessage()
	startup, ok := msg.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return
	}
	w.mu.Lock()
	w.logins = append(w.logins, startup.Parameters["user"]+"/"+startup.Parameters["database"])
	hang, answer := w.hang, w.answer
	w.mu.Unlock()
	switch {
	case hang:
		_, _ = backend.Receive()
		return
	case answer != nil:
		backend.Send(answer)
		_ = backend.Flush()
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for backend.Flush() == nil {
		msg, err := backend.Receive()
		if _, ok := msg.(*pgproto3.Query); err != nil || !ok {
			return
		}
		backend.Send(&pgproto3.EmptyQueryResponse{})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

// set sets what becomes of logins, and forgets those so far.
func (w *poolerWorld) set(hang bool, answer pgproto3.BackendMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hang, w.answer, w.logins = hang, answer, nil
}

func (w *poolerWorld) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// count returns how many logins there were of a user to a database, or of all if it
// is empty.
func (w *poolerWorld) count(login string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.logins {
		if login == "" || l == login {
			n++
		}
	}
	return n
}

// program returns the Dialer of another program, with tokens like those of Google's
// metadata servers.
func (w *poolerWorld) program(opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	w.t.Helper()
	return w.programWith(5*time.Minute, opts...)
}

func (w *poolerWorld) programWith(reserve time.Duration, opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	w.t.Helper()
	base := []cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(w.URL()), cloudsqlconn.WithDialFunc(w.DialContext), cloudsqlconn.WithHTTPClient(w.Client()),
		cloudsqlconn.WithIAMAuthNTokenSources(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: w.Token()}), &tokens{world: w, reserve: reserve}),
		cloudsqlconn.WithIAMAuthN(true),
	}
	return newDialer(w.t, slices.Concat(base, opts)...)
}

// login opens a connection.
func (w *poolerWorld) login(d *cloudsqlconn.Dialer, dsn string) (*pgx.Conn, error) {
	w.t.Helper()
	cfg, err := pgx.ParseConfig("host=" + instance + " user=" + me + " " + dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := postgres.Configure(d, cfg); err != nil {
		w.t.Fatal(err)
	}
	return pgx.ConnectConfig(w.t.Context(), cfg)
}

// open is login that must go well. The connection stays open until the test ends.
func (w *poolerWorld) open(d *cloudsqlconn.Dialer, dsn string) {
	w.t.Helper()
	c, err := w.login(d, dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close(context.Background()) })
}

// use is login that must go well, for a moment.
func (w *poolerWorld) use(d *cloudsqlconn.Dialer, dsn string) {
	w.t.Helper()
	c, err := w.login(d, dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = c.Close(context.Background())
}

func refused(err error) bool {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	return ok && answer.Code == "08P01"
}

// A program that has logged in once keeps the pooler's token fresh, for all programs:
// another one that logs in every minute is never refused. It does that to another
// database each time, since its own login would refresh the token.
func TestNobodyIsRefusedByThePooler(t *testing.T) {
	t.Parallel()
	const minutes = 90
	for on, want := range map[bool]int{true: 0, false: minutes - 60 + 1} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			t.Parallel()
			inPoolerWorld(t, true, func(t *testing.T, w *poolerWorld) {
				service, other := w.program(cloudsqlconn.WithLoginAfterRefresh(on)), w.program()
				defer service.Close()
				defer other.Close()
				w.open(service, "dbname=d0") // and stays idle
				for minute := range minutes {
					w.use(service, fmt.Sprintf("dbname=d%d", minute+1))
				}
				refusals := 0
				for minute := 1; minute <= minutes; minute++ {
					time.Sleep(time.Minute)
					c, err := w.login(other, fmt.Sprintf("dbname=d%d", minute))
					switch {
					case err == nil:
						_ = c.Close(t.Context())
					case refused(err):
						refusals++
					default:
						t.Error(err)
					}
				}
				if refusals != want {
					t.Errorf("%d logins were refused, want %d", refusals, want)
				}
			})
		})
	}
}

// Where nothing pools, the repeated logins cost little: one for each login token, and
// none if the program logs in by itself.
func TestALoginIsRepeatedOnceForEachToken(t *testing.T) {
	t.Parallel()
	const hours = 24
	for reserve, most := range map[time.Duration]int{
		0:                hours,           // the next token comes when one has expired
		5 * time.Minute:  hours * 60 / 55, // as metadata servers have it
		30 * time.Minute: hours * 60 / 30, // as this library's own credentials have it
	} {
		t.Run("idle "+reserve.String(), func(t *testing.T) {
			t.Parallel()
			inPoolerWorld(t, false, func(t *testing.T, w *poolerWorld) {
				d := w.programWith(reserve)
				defer d.Close()
				var want []string
				for _, database := range []string{"shop", "stock", "staff"} {
					w.open(d, "dbname="+database)
					w.open(d, "dbname="+database) // no other login
					want = append(want, me+"/"+database)
				}
				w.set(false, nil)
				time.Sleep(hours * time.Hour)
				for _, login := range want {
					if n := w.count(login); n < hours-2 || n > most {
						t.Errorf("%d logins as %s in %d hours, want one for each token, %d at most", n, login, hours, most)
					} else {
						t.Logf("%d logins as %s in %d hours", n, login, hours)
					}
				}
			})
		})
	}
	t.Run("busy", func(t *testing.T) {
		t.Parallel()
		inPoolerWorld(t, false, func(t *testing.T, w *poolerWorld) {
			d := w.programWith(30 * time.Minute)
			defer d.Close()
			own := 0
			for range 4 * 120 {
				w.use(d, "")
				own++
				time.Sleep(30 * time.Second)
			}
			if n := w.count(""); n != own {
				t.Errorf("%d logins, want the program's own %d", n, own)
			}
		})
	})
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		inPoolerWorld(t, false, func(t *testing.T, w *poolerWorld) {
			d := w.program(cloudsqlconn.WithLoginAfterRefresh(false))
			defer d.Close()
			w.open(d, "")
			time.Sleep(hours * time.Hour)
			if n := w.count(""); n != 1 {
				t.Errorf("%d logins, want the program's own", n)
			}
		})
	})
}
