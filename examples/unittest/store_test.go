package unittest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
)

const (
	instanceName = "my-project:europe-west1:my-db"
	dsn          = "host=my-project:europe-west1:my-db user=app password=secret dbname=shop"
)

// newCloud returns an emulated Cloud SQL with one instance, and a real database
// in it.
func newCloud(t *testing.T) (*cloudsqltest.Server, *cloudsqltest.EmulatedInstance) {
	t.Helper()
	database := dbtest.New(t, dbtest.PostgreSQL, "CREATE ROLE app LOGIN PASSWORD 'secret'", "CREATE DATABASE shop OWNER app")
	cloud := cloudsqltest.NewServer()
	t.Cleanup(cloud.Close)
	return cloud, cloud.AddInstance(instanceName, database.Instance())
}

func open(t *testing.T, cloud *cloudsqltest.Server) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn, cloud.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func wantTitles(t *testing.T, s *Store, want ...string) {
	t.Helper()
	got, err := s.Titles(t.Context())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestKeepsBooks(t *testing.T) {
	t.Parallel()
	cloud, _ := newCloud(t)
	s := open(t, cloud)
	for _, title := range []string{"B", "A", "B"} {
		if err := s.Add(t.Context(), title); err != nil {
			t.Fatal(err)
		}
	}
	wantTitles(t, s, "A", "B")
}

func TestStartsThoughTheAdminAPIStumbles(t *testing.T) {
	t.Parallel()
	cloud, _ := newCloud(t)
	outage := &cloudsqltest.Fault{Status: http.StatusServiceUnavailable, Times: 2}
	cloud.OnRequest = func(*http.Request) *cloudsqltest.Fault { return outage }
	wantTitles(t, open(t, cloud))
	if n := cloud.Hits(outage); n != 2 {
		t.Errorf("%d requests met the outage, want 2", n)
	}
}

// A failover: the connections break and the instance is at another address.
func TestSurvivesAFailover(t *testing.T) {
	t.Parallel()
	cloud, instance := newCloud(t)
	s := open(t, cloud)
	if err := s.Add(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	instance.SetAddrs(map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "203.0.113.7"})
	if instance.CutConnections(true) == 0 {
		t.Error("no connection was open")
	}
	wantTitles(t, s, "A")
	if instance.Counts().Refused == 0 {
		t.Error("nobody tried the old address")
	}
}

// With Principals, the kit refuses IAM logins as anybody but the user of whom the
// token is, as Cloud SQL does. Without, a mistake in the user's name passes.
func TestLogsInAsTheIAMUserOfItsCredentials(t *testing.T) {
	t.Parallel()
	database := dbtest.New(t, dbtest.PostgreSQL, `CREATE ROLE "me@example.com" LOGIN`, `CREATE ROLE "you@example.com" LOGIN`, `CREATE DATABASE shop OWNER "me@example.com"`)
	cloud := cloudsqltest.NewServer()
	defer cloud.Close()
	cloud.Principals = map[string]string{cloud.LoginToken(): "me@example.com"}
	instance := cloud.AddInstance(instanceName, database.Instance())
	opts := append(cloud.Options(), cloudsqlconn.DialOptions(cloudsqlconn.WithIAMAuthN(true)))

	s, err := Open(t.Context(), "host="+instanceName+" user=me@example.com dbname=shop", opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantTitles(t, s)

	_, err = Open(t.Context(), "host="+instanceName+" user=you@example.com dbname=shop", opts...)
	if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "28000" {
		t.Errorf("got %v, want 28000", err)
	}
	if instance.Counts().Denied == 0 {
		t.Error("nobody was denied")
	}
}

func TestTellsWhatToDoWithoutPermission(t *testing.T) {
	t.Parallel()
	cloud := cloudsqltest.NewServer()
	defer cloud.Close()
	cloud.OnRequest = func(*http.Request) *cloudsqltest.Fault {
		return &cloudsqltest.Fault{
			Status: http.StatusForbidden,
			Body:   cloudsqltest.ErrorBody(http.StatusForbidden, "The client is not authorized to make this request.", "notAuthorized"),
		}
	}
	_, err := Open(t.Context(), dsn, cloud.Options()...)
	if !errors.Is(err, cloudsqlconn.ErrPermission) || !strings.Contains(Advice(err), "Cloud SQL Client") {
		t.Errorf("got %v, with the advice %q", err, Advice(err))
	}
}

// On fake time, and without a database: the instance accepts connections and
// never says anything, and Open still returns when its context ends.
func TestOpenIsOverWhenItsContextIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cloud := cloudsqltest.NewMemoryServer()
		defer cloud.Close()
		instance := cloud.AddInstance(instanceName, cloudsqltest.Instance{})
		instance.SetBehavior(cloudsqltest.Silent)

		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := Open(ctx, dsn, cloud.Options()...)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 5*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
		if instance.Counts().Silent == 0 {
			t.Error("nobody met the silent instance")
		}
	})
}
