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
type resolverFunc func(name string) (cloudsqlconn.Resolution, error)

func (f resolverFunc) Resolve(_ context.Context, name string) (cloudsqlconn.Resolution, error) {
	return f(name)
}

func TestAResolverMapsNames(t *testing.T) {
	target, err := cloudsqlconn.ParseName(testInstance)
	if err != nil {
		t.Fatal(err)
	}
	unknown := errors.New("no such name")
	resolver := resolverFunc(func(name string) (cloudsqlconn.Resolution, error) {
		switch name {
		case "db.example.com", "replica.example.com":
			return cloudsqlconn.Resolution{Instance: target, Domain: strings.ToUpper(name) + "."}, nil
		case "nothing.example.com":
			return cloudsqlconn.Resolution{}, nil
		}
		return cloudsqlconn.Resolution{}, unknown
	})
	cfg := cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"db.example.com", "replica.example.com"}}
	inWorld(t, cfg, func(t *testing.T, w *world) {
		for _, name := range []string{"db.example.com", "replica.example.com"} {
			c, err := w.dialer.Dial(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if info, _ := cloudsqlconn.InfoOf(c); info.Instance != target || info.Domain != name {
				t.Errorf("%s led to %+v", name, info)
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
	resolver := resolverFunc(func(string) (cloudsqlconn.Resolution, error) {
		if i := current.Load(); i >= 0 {
			return cloudsqlconn.Resolution{Instance: names[i]}, nil
		}
		return cloudsqlconn.Resolution{}, failure
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

// A resolver's hosts come before the instance's own addresses, as names or as
// addresses, and one that leads nowhere is in nobody's way.
func TestAResolverCanGiveHosts(t *testing.T) {
	target, err := cloudsqlconn.ParseName(testInstance)
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	resolver := resolverFunc(func(string) (cloudsqlconn.Resolution, error) {
		return cloudsqlconn.Resolution{Instance: target, Hosts: hosts}, nil
	})
	const private = "127.2.0.1"
	cfg := cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.1.0.1", cloudsqlconn.PrivateIP: private}}
	inWorld(t, cfg, func(t *testing.T, w *world) {
		for _, tt := range []struct {
			hosts []string
			want  cloudsqlconn.IPType
		}{
			{nil, cloudsqlconn.PublicIP},
			{[]string{private}, cloudsqlconn.PrivateIP},
			{[]string{"127.9.9.9", private}, cloudsqlconn.PrivateIP}, // nobody is at the first
		} {
			hosts = tt.hosts
			c := w.wantConn("db.example.com")
			if info, _ := cloudsqlconn.InfoOf(c); info.IPType != tt.want || info.Domain != "" {
				t.Errorf("%q led to %+v", tt.hosts, info)
			}
		}
		for _, host := range []string{"", "127.1.0.1:3307", "[::1]", "db.example.com:3307", "a b"} {
			hosts = []string{host}
			_, err := w.dialer.Dial(t.Context(), "db.example.com")
			if e, ok := errors.AsType[*cloudsqlconn.Error](err); !errors.Is(err, cloudsqlconn.ErrConfig) || !ok || e.Op != cloudsqlconn.OpResolve {
				t.Errorf("%q: got %v", host, err)
			}
		}
	}, cloudsqlconn.WithResolver(resolver))
}
