package faults_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

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
