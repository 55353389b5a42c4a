package cloudsqltest_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// resolver is what a DNS and a *net.Resolver have in common.
type resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// eachResolver runs a test with a DNS itself, and with a *net.Resolver that
// asks a server of it. Names have a trailing dot, so that the machine's search
// list adds no questions.
func eachResolver(t *testing.T, test func(t *testing.T, d *cloudsqltest.DNS, r resolver)) {
	t.Helper()
	t.Parallel()
	t.Run("itself", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := cloudsqltest.NewDNS()
			test(t, d, d)
		})
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		d := cloudsqltest.NewDNS()
		s := d.Listen()
		defer s.Close()
		test(t, d, s.Resolver())
	})
}

func wantTXT(t *testing.T, r resolver, name string, want ...string) {
	t.Helper()
	got, err := r.LookupTXT(t.Context(), name)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("TXT of %s: %q, %v; want %q", name, got, err, want)
	}
}

// dnsErr returns the error of a lookup.
func dnsErr(t *testing.T, err error) *net.DNSError {
	t.Helper()
	var e *net.DNSError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *net.DNSError", err)
	}
	return e
}

func TestDNSAnswersTXT(t *testing.T) {
	eachResolver(t, func(t *testing.T, d *cloudsqltest.DNS, r resolver) {
		long := strings.Repeat("long ", 200)
		d.SetTXT("db.example.com", "b", "a", "", long)
		wantTXT(t, r, "db.example.com.", "", "a", "b", long)
		wantTXT(t, r, "DB.Example.COM.", "", "a", "b", long)

		d.SetSplitTXT("Db.example.com.", "my-project:", "europe-west1", ":my-db")
		wantTXT(t, r, "db.example.com.", "my-project:europe-west1:my-db")

		d.SetTXT("db.example.com")
		if _, err := r.LookupTXT(t.Context(), "db.example.com."); !dnsErr(t, err).IsNotFound {
			t.Errorf("without records: %v", err)
		}
		d.SetHost("db.example.com", "127.0.0.1")
		if _, err := r.LookupTXT(t.Context(), "db.example.com."); !dnsErr(t, err).IsNotFound {
			t.Errorf("without TXT records: %v", err)
		}
		if got := len(d.Queries("db.example.com")); got < 5 {
			t.Errorf("%d queries are kept", got)
		}
	})
}

func TestDNSAnswersHosts(t *testing.T) {
	eachResolver(t, func(t *testing.T, d *cloudsqltest.DNS, r resolver) {
		d.SetHost("db.example.com", "203.0.113.1", "2001:db8::1", "::ffff:203.0.113.2")
		got, err := r.LookupHost(t.Context(), "db.example.com.")
		wantNil(t, err)
		slices.Sort(got)
		if want := []string{"2001:db8::1", "203.0.113.1", "203.0.113.2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		d.Remove("DB.example.com.")
		if _, err := r.LookupHost(t.Context(), "db.example.com."); !dnsErr(t, err).IsNotFound {
			t.Errorf("after Remove: %v", err)
		}
		d.SetTXT("db.example.com", "text")
		if _, err := r.LookupHost(t.Context(), "db.example.com."); !dnsErr(t, err).IsNotFound {
			t.Errorf("without addresses: %v", err)
		}
	})
}

func TestDNSFollowsAliases(t *testing.T) {
	eachResolver(t, func(t *testing.T, d *cloudsqltest.DNS, r resolver) {
		d.SetCNAME("a.example.com", "B.example.com")
		d.SetCNAME("b.example.com", "c.example.com.")
		d.SetTXT("c.example.com", "text")
		d.SetHost("c.example.com", "203.0.113.1")
		wantTXT(t, r, "a.example.com.", "text")
		if got, err := r.LookupHost(t.Context(), "a.example.com."); err != nil || len(got) != 1 {
			t.Errorf("hosts: %q, %v", got, err)
		}
		if got, err := r.LookupCNAME(t.Context(), "c.example.com."); err != nil || got != "c.example.com." {
			t.Errorf("CNAME of a name that is no alias: %q, %v", got, err)
		}
		// A *net.Resolver may return the first hop or the last.
		if got, err := r.LookupCNAME(t.Context(), "a.example.com."); err != nil || !strings.EqualFold(got, "b.example.com.") && got != "c.example.com." {
			t.Errorf("CNAME: %q, %v", got, err)
		}

		// The target need not exist.
		d.Remove("c.example.com")
		if got, err := r.LookupCNAME(t.Context(), "b.example.com."); err != nil || got != "c.example.com." {
			t.Errorf("CNAME of a dangling alias: %q, %v", got, err)
		}
		if _, err := r.LookupTXT(t.Context(), "a.example.com."); !dnsErr(t, err).IsNotFound {
			t.Errorf("TXT of a dangling alias: %v", err)
		}
		d.SetCNAME("b.example.com", "")
		if _, err := r.LookupCNAME(t.Context(), "b.example.com."); !dnsErr(t, err).IsNotFound {
			t.Errorf("CNAME that was taken away: %v", err)
		}

		// Round in a circle.
		d.SetCNAME("b.example.com", "a.example.com")
		if _, err := r.LookupTXT(t.Context(), "a.example.com."); !dnsErr(t, err).IsTemporary {
			t.Errorf("TXT in a circle: %v", err)
		}
	})
}

func TestDNSAnswersOneHop(t *testing.T) {
	eachResolver(t, func(t *testing.T, d *cloudsqltest.DNS, r resolver) {
		d.AnswerOneHop(true)
		d.SetCNAME("a.example.com", "b.example.com")
		d.SetCNAME("b.example.com", "a.example.com")
		d.SetTXT("b.example.com", "text")
		if got, err := r.LookupCNAME(t.Context(), "a.example.com."); err != nil || got != "b.example.com." {
			t.Errorf("CNAME: %q, %v", got, err)
		}
		if got, err := r.LookupTXT(t.Context(), "a.example.com."); err == nil {
			t.Errorf("TXT of an alias: %q", got)
		}
		wantTXT(t, r, "b.example.com.", "text")
	})
}

func TestDNSFaultsHappenAndAreCounted(t *testing.T) {
	for _, tt := range []struct {
		fault cloudsqltest.DNSFault
		want  func(*net.DNSError) bool
	}{
		{cloudsqltest.DNSFault{Code: cloudsqltest.ServFail}, func(e *net.DNSError) bool { return e.IsTemporary && !e.IsNotFound }},
		{cloudsqltest.DNSFault{Code: cloudsqltest.Refused}, func(e *net.DNSError) bool { return !e.IsTemporary && !e.IsNotFound }},
		{cloudsqltest.DNSFault{Code: cloudsqltest.NXDomain, Type: cloudsqltest.TXT}, func(e *net.DNSError) bool { return e.IsNotFound }},
		{cloudsqltest.DNSFault{Code: cloudsqltest.NXDomain, Delay: time.Millisecond}, func(e *net.DNSError) bool { return e.IsNotFound }},
	} {
		t.Run(tt.fault.Code.String(), func(t *testing.T) {
			eachResolver(t, func(t *testing.T, d *cloudsqltest.DNS, r resolver) {
				d.SetTXT("db.example.com", "text")
				other, fault := &cloudsqltest.DNSFault{Type: cloudsqltest.AAAA, Hang: true}, tt.fault
				d.Fail("DB.example.com.", other, &fault)
				if _, err := r.LookupTXT(t.Context(), "db.example.com."); !tt.want(dnsErr(t, err)) {
					t.Errorf("got %#v", err)
				}
				queries := d.Queries("db.example.com")
				if d.Hits(&fault) != len(queries) || d.Hits(other) != 0 {
					t.Errorf("%d and %d hits", d.Hits(&fault), d.Hits(other))
				}
				for _, q := range queries {
					if q.Type != cloudsqltest.TXT || q.Fault != &fault || q.Time.IsZero() {
						t.Errorf("kept as %+v", q)
					}
				}
				d.Fail("db.example.com")
				wantTXT(t, r, "db.example.com.", "text")
			})
		})
	}
}

func TestDNSFaultEndsByItself(t *testing.T) {
	t.Parallel()
	d := cloudsqltest.NewDNS()
	d.SetTXT("db.example.com", "text")
	d.SetHost("db.example.com", "203.0.113.1")
	fault := &cloudsqltest.DNSFault{Code: cloudsqltest.ServFail, Times: 2}
	d.Fail("db.example.com", fault)
	for range 2 {
		_, err := d.LookupTXT(t.Context(), "db.example.com")
		dnsErr(t, err)
	}
	wantTXT(t, d, "db.example.com", "text")
	if got := d.Hits(fault); got != 2 {
		t.Errorf("%d hits, want 2", got)
	}

	// One family of addresses is enough.
	d.Fail("db.example.com", &cloudsqltest.DNSFault{Type: cloudsqltest.AAAA, Code: cloudsqltest.ServFail})
	if got, err := d.LookupHost(t.Context(), "db.example.com"); err != nil || len(got) != 1 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDNSHangsUntilTheCallerGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := cloudsqltest.NewDNS()
		d.Fail("db.example.com", &cloudsqltest.DNSFault{Hang: true})
		start := time.Now()
		_, err := d.LookupTXT(t.Context(), "db.example.com")
		if e := dnsErr(t, err); !e.IsTimeout || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		_, err = d.LookupTXT(ctx, "db.example.com")
		if e := dnsErr(t, err); !e.IsTimeout || time.Since(start) != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := d.LookupTXT(ctx, "db.example.com"); dnsErr(t, err) == nil || len(d.Queries("db.example.com")) != 2 {
			t.Errorf("with a context that has ended: %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		d.Fail("db.example.com", &cloudsqltest.DNSFault{Delay: time.Minute})
		time.AfterFunc(time.Second, cancel)
		_, err = d.LookupHost(ctx, "db.example.com")
		if e := dnsErr(t, err); e.IsTimeout || !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	})
}

func TestMistakesInDNSRecordsPanic(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(d *cloudsqltest.DNS){
		"no address":       func(d *cloudsqltest.DNS) { d.SetHost("db.example.com", "localhost") },
		"a long string":    func(d *cloudsqltest.DNS) { d.SetSplitTXT("db.example.com", strings.Repeat("a", 256)) },
		"no string at all": func(d *cloudsqltest.DNS) { d.SetSplitTXT("db.example.com") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("did not panic")
				}
			}()
			f(cloudsqltest.NewDNS())
		})
	}
}
