package cloudsqlconn_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"my-project:europe-west1:my-db", "example.com:my-project:us-central1:db-1", "p:r:i", "google.com:p1:asia-northeast1:i2"} {
		n, err := cloudsqlconn.ParseName(s)
		if err != nil || n.String() != s || n.Project()+":"+n.Region()+":"+n.Instance() != s || n.IsZero() || n.Domain() != "" {
			t.Errorf("ParseName(%q) = %v, %v", s, n, err)
		}
	}
}

// F39
func TestBadNamesShowTheExpectedForm(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "my-db", "my-project:my-db", ":::", "a:b:c:d:e", "a::c", "a:b:", ":b:c", " a:b:c", "a:b:c\n", "a b:c:d",
		"A:b:c", "a:b:C", "a:b:c/d", "https://example.com/a:b:c", "ä:b:c", "a:b:c\x00", "1a:b:c", "../a:b:c", strings.Repeat("a", 10000),
	} {
		n, err := cloudsqlconn.ParseName(s)
		if !errors.Is(err, cloudsqlconn.ErrBadName) || !n.IsZero() || n.String() != "" {
			t.Errorf("ParseName(%q) = %v, %v; want ErrBadName", s, n, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, "project:region:instance") || len(text) > 500 {
			t.Errorf("ParseName(%.20q): unhelpful error %q", s, text)
		}
	}
}

// F39, F40
func TestPasswordsInNamesAreNotShown(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		for _, s := range []string{
			"postgres://app:secret@/shop?host=a:b:c", "app:secret@cloudsql-mysql(a:b:c)/shop", "host=a:b:c password=secret",
		} {
			for _, closed := range []bool{false, true} {
				if closed {
					_ = w.dialer.Close()
				}
				if _, err := w.dialer.Dial(t.Context(), s); err == nil || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: got %v", s, err)
				}
			}
		}
	})
}

// F39
func TestDialRefusesBadNames(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		_, err := w.dialer.Dial(t.Context(), "my project:europe-west1:my-db")
		var e *cloudsqlconn.Error
		if !errors.Is(err, cloudsqlconn.ErrBadName) || !errors.As(err, &e) || e.Op != "resolve" || e.Hint == "" {
			t.Errorf("got %v", err)
		}
		w.wantCalls(0)
	})
}

func FuzzParseName(f *testing.F) {
	f.Add("my-project:europe-west1:my-db")
	f.Add("example.com:my-project:europe-west1:my-db")
	f.Add("a:b:c:d:e")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := cloudsqlconn.ParseName(s)
		if (err == nil) != (n.String() == s && s != "") {
			t.Errorf("ParseName(%q) = %q, %v", s, n, err)
		}
		if err != nil && !errors.Is(err, cloudsqlconn.ErrBadName) {
			t.Errorf("ParseName(%q): error %v is not ErrBadName", s, err)
		}
	})
}

// resolverFunc is a Resolver.
type resolverFunc func(name string) (cloudsqlconn.Name, error)

func (f resolverFunc) Resolve(_ context.Context, name string) (cloudsqlconn.Name, error) {
	return f(name)
}

func TestAResolverMapsNames(t *testing.T) {
	target, err := cloudsqlconn.ParseName(testInstance)
	if err != nil {
		t.Fatal(err)
	}
	unknown := errors.New("no such name")
	resolver := resolverFunc(func(name string) (cloudsqlconn.Name, error) {
		switch name {
		case "db.example.com", "replica.example.com":
			return target.WithDomain(name + "."), nil
		case "nothing.example.com":
			return cloudsqlconn.Name{}, nil
		}
		return cloudsqlconn.Name{}, unknown
	})
	cfg := cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"db.example.com", "replica.example.com"}}
	inWorld(t, cfg, func(t *testing.T, w *world) {
		for _, name := range []string{"db.example.com", "replica.example.com"} {
			c, err := w.dialer.Dial(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		w.wantCalls(2) // two names of one instance share what is known of it
		if _, err := w.dialer.Dial(t.Context(), "other.example.com"); !errors.Is(err, unknown) {
			t.Errorf("got %v, want the resolver's error", err)
		}
		if _, err := w.dialer.Dial(t.Context(), "nothing.example.com"); !errors.Is(err, cloudsqlconn.ErrBadName) {
			t.Errorf("got %v, want ErrBadName", err)
		}
	}, cloudsqlconn.WithResolver(resolver))
}

// F31, F32, core
func TestTheNextDialFollowsTheResolver(t *testing.T) {
	const other = "my-project:europe-west1:other-db"
	var names []cloudsqlconn.Name
	for _, s := range []string{testInstance, other} {
		n, err := cloudsqlconn.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	failure := errors.New("SERVFAIL")
	var current atomic.Int64 // an index into names; -1: the look-up fails
	resolver := resolverFunc(func(string) (cloudsqlconn.Name, error) {
		if i := current.Load(); i >= 0 {
			return names[i], nil
		}
		return cloudsqlconn.Name{}, failure
	})
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		second := w.AddInstance(other, cloudsqltest.Instance{})
		first, err := w.dialer.Dial(t.Context(), "db.example.com")
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()

		current.Store(-1)
		if _, err := w.dialer.Dial(t.Context(), "db.example.com"); !errors.Is(err, failure) {
			t.Errorf("got %v, want the resolver's error", err)
		}
		if err := echo(first); err != nil {
			t.Errorf("a failed look-up broke an open connection: %v", err)
		}

		current.Store(1)
		c, err := w.dialer.Dial(t.Context(), "db.example.com")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if second.Accepted() != 1 {
			t.Errorf("the other instance has %d connections, want 1", second.Accepted())
		}
	}, cloudsqlconn.WithResolver(resolver))
}

func TestFormatIAMUser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ engine, principal, want string }{
		{"POSTGRES_16", "me@example.com", "me@example.com"},
		{"POSTGRES_9_6", "sa@p.iam.gserviceaccount.com", "sa@p.iam"},
		{"POSTGRES", "sa@p.iam", "sa@p.iam"},
		{"POSTGRES_17", "First.Last@Example.com", "first.last@example.com"},
		{"POSTGRES_17", "SA@p.iam.GserviceAccount.com", "sa@p.iam"},
		{"POSTGRES_17", "Postgres", "Postgres"},
		{"MYSQL_8_0", "me@example.com", "me"},
		{"MYSQL_8_4", "First.Last@Example.com", "first.last"},
		{"MYSQL", "App", "App"},
		{"MYSQL_8_4", "sa@p.iam.gserviceaccount.com", "sa"},
		{"MYSQL", "sa", "sa"},
		{"SQLSERVER_2022_WEB", "me@example.com", "me@example.com"},
	} {
		if got := cloudsqlconn.FormatIAMUser(tt.engine, tt.principal); got != tt.want {
			t.Errorf("FormatIAMUser(%q, %q) = %q, want %q", tt.engine, tt.principal, got, tt.want)
		}
	}
}

func TestParseIPType(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]cloudsqlconn.IPType{"public": cloudsqlconn.PublicIP, "Private": cloudsqlconn.PrivateIP, "PSC": cloudsqlconn.PSC} {
		if got, err := cloudsqlconn.ParseIPType(s); got != want || err != nil {
			t.Errorf("ParseIPType(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := cloudsqlconn.ParseIPType("IPV6"); !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "[PUBLIC PRIVATE PSC]") {
		t.Errorf("got %v", err)
	}
}
