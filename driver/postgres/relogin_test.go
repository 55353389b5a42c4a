package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// Of more than a hundred logins the oldest are forgotten, but not those that have a
// connection.
func TestNoMoreThanAHundredLoginsAreRepeated(t *testing.T) {
	t.Parallel()
	inPoolerWorld(t, false, func(t *testing.T, w *poolerWorld) {
		d := w.program()
		defer d.Close()
		w.open(d, "dbname=kept")
		for i := range 150 {
			w.use(d, fmt.Sprintf("dbname=d%d", i))
			time.Sleep(time.Second)
		}
		w.set(false, nil)
		time.Sleep(65 * time.Minute)
		if n := w.count(""); n != 100 {
			t.Errorf("%d logins in an hour, want 100", n)
		}
		if w.count(me+"/kept") == 0 || w.count(me+"/d0") > 0 || w.count(me+"/d149") == 0 {
			t.Error("not the oldest without a connection were forgotten")
		}
	})
}

// A login is repeated while a connection is open that began with it, and three days
// longer.
func TestALoginIsForgottenAfterItsConnections(t *testing.T) {
	t.Parallel()
	inPoolerWorld(t, false, func(t *testing.T, w *poolerWorld) {
		d := w.program()
		defer d.Close()
		c, err := w.login(d, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			pass  time.Duration
			again bool
		}{{74 * time.Hour, true}, {68 * time.Hour, true}, {8 * time.Hour, false}} {
			time.Sleep(tt.pass)
			w.set(false, nil)
			time.Sleep(2 * time.Hour)
			if n := w.count(""); n > 0 != tt.again {
				t.Errorf("%d logins %v later", n, tt.pass)
			}
			_ = c.Close(context.Background())
		}
	})
}

func TestALoginThatTheDatabaseRefusesIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer pgproto3.BackendMessage
		again  bool
	}{
		"28000":    {&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28000"}, false},
		"3D000":    {&pgproto3.ErrorResponse{Severity: "FATAL", Code: "3D000"}, false},
		"password": {&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, false},
		"53300":    {&pgproto3.ErrorResponse{Severity: "FATAL", Code: "53300"}, true},
		"nonsense": {&pgproto3.CopyData{Data: make([]byte, 1<<17)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inPoolerWorld(t, false, func(t *testing.T, w *poolerWorld) {
				d := w.program()
				defer d.Close()
				w.open(d, "")
				w.set(false, tt.answer)
				time.Sleep(3 * time.Hour)
				if n := w.count(""); n == 0 || n > 1 != tt.again {
					t.Errorf("%d logins", n)
				}
				w.set(false, nil)
				time.Sleep(3 * time.Hour)
				if n := w.count(""); n > 0 != tt.again || n > 4 {
					t.Errorf("%d logins once the server answers", n)
				}
			})
		})
	}
}

// A login that hangs is ended after 10 s, and tried again.
func TestALoginThatIsNotAnsweredIsTriedAgain(t *testing.T) {
	t.Parallel()
	inPoolerWorld(t, true, func(t *testing.T, w *poolerWorld) {
		service, other := w.program(), w.program()
		defer service.Close()
		defer other.Close()
		w.open(service, "")
		w.set(true, nil)
		for w.count("") == 0 {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if n := w.count(""); n < 2 || n > 4 {
			t.Errorf("%d logins in a minute", n)
		}
		if open := service.Instances()[0].OpenConnections; open > 2 {
			t.Errorf("%d connections are open", open)
		}
		w.set(false, nil)
		time.Sleep(5 * time.Minute)
		if w.count("") == 0 {
			t.Error("it is not tried again")
		}
		w.open(other, "")
	})
}

func TestCloseEndsALoginThatHangs(t *testing.T) {
	t.Parallel()
	inPoolerWorld(t, false, func(t *testing.T, w *poolerWorld) {
		d := w.program()
		w.open(d, "")
		w.set(true, nil)
		for w.count("") == 0 {
			time.Sleep(time.Second)
		}
		start := time.Now()
		_ = d.Close()
		if took := time.Since(start); took > 300*time.Millisecond {
			t.Errorf("Close took %v", took)
		}
		n := w.count("")
		time.Sleep(24 * time.Hour)
		if w.count("") != n {
			t.Error("a login of a closed Dialer was repeated")
		}
	})
}

// Each node of a read pool has a pooler of its own, and its logins end with it.
func TestEachNodeOfAReadPoolIsToldANewToken(t *testing.T) {
	t.Parallel()
	inPoolerWorld(t, false, func(t *testing.T, w *poolerWorld) {
		const pool = "my-project:europe-west1:pool"
		p := w.AddInstance(pool, cloudsqltest.Instance{Handler: w.serve, Nodes: []cloudsqltest.Node{{Name: "n1"}, {Name: "n2"}, {Name: "n3"}}})
		d := w.program()
		defer d.Close()
		for range 6 {
			w.open(d, "host="+pool)
		}
		before := make([]int, 3)
		for i, n := range p.Nodes() {
			before[i] = n.Counts().Handshakes
		}
		time.Sleep(65 * time.Minute)
		for i, n := range p.Nodes() {
			if got := n.Counts().Handshakes - before[i]; got != 1 {
				t.Errorf("%d logins to node %d, want 1", got, i)
			}
		}
	})
}

// The Admin API is down until after the token has expired, and nobody dials: the
// pooler is told as soon as it is back.
func TestThePoolerIsToldAfterALongOutage(t *testing.T) {
	t.Parallel()
	inPoolerWorld(t, true, func(t *testing.T, w *poolerWorld) {
		service, other := w.program(), w.program()
		defer service.Close()
		defer other.Close()
		w.open(service, "")
		w.setDown(true)
		time.Sleep(5 * time.Hour)
		w.setDown(false)
		if n := w.count(""); n > 1 {
			t.Fatalf("the fault did not happen: %d logins", n)
		}
		time.Sleep(20 * time.Minute)
		w.open(other, "")
	})
}

// With WithLazyRefresh the logins to all databases are repeated when a Dial
// refreshes, and at no other time.
func TestLazyDialersRepeatLoginsWhenTheyRefresh(t *testing.T) {
	t.Parallel()
	inPoolerWorld(t, true, func(t *testing.T, w *poolerWorld) {
		lazy, other := w.program(cloudsqlconn.WithLazyRefresh()), w.program()
		defer lazy.Close()
		defer other.Close()
		w.open(lazy, "dbname=shop")
		w.open(lazy, "dbname=stock")
		w.set(false, nil)
		time.Sleep(56 * time.Minute)
		if n := w.count(""); n > 0 {
			t.Fatalf("%d logins without a Dial", n)
		}
		w.open(lazy, "dbname=shop") // begins a refresh
		time.Sleep(10 * time.Minute)
		w.open(other, "dbname=stock")
	})
}

// What the pooler says has a hint, and database/sql connects again: the pooler has
// seen the new token.
func TestTheErrorOfThePoolerHasAHint(t *testing.T) {
	t.Parallel()
	inPoolerWorld(t, true, func(t *testing.T, w *poolerWorld) {
		off := cloudsqlconn.WithLoginAfterRefresh(false)
		service, other := w.program(off), w.program(off)
		defer service.Close()
		defer other.Close()
		w.open(service, "")
		time.Sleep(61 * time.Minute)
		if _, err := w.login(other, ""); !refused(err) || !strings.Contains(cloudsqlconn.Hint(err), "Connect again") {
			t.Errorf("got %v, hint %q", err, cloudsqlconn.Hint(err))
		}
		w.open(other, "")
		time.Sleep(61 * time.Minute)
		c, err := postgres.NewConnector(service, "host="+instance+" user="+me)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		defer db.Close()
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		if n := w.instance.Counts().Expired; n != 2 {
			t.Errorf("%d logins were refused, want 2", n)
		}
	})
}
