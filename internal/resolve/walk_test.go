package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
)

func TestTXTRecordNamesTheInstance(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		for _, name := range []string{domain, domain + ".", "DB.Example.COM", "dB.eXample.com."} {
			w.start(name, time.Minute).want(0, one)
		}
		w.dns.SetTXT(domain, two, "v=spf1 -all", one, " "+one, "")
		w.want(one) // by byte order, the first that is valid
		w.dns.SetSplitTXT(domain, "my-project:", "europe-west1", ":two")
		w.want(two)
		w.wantCalls(0)
	})
}

func TestCNAMEsAreFollowed(t *testing.T) {
	for _, oneHop := range []bool{false, true} {
		t.Run(fmt.Sprint("one hop at a time: ", oneHop), func(t *testing.T) {
			tell(t, func(t *testing.T, w *world) {
				w.dns.AnswerOneHop(oneHop)
				w.dns.SetCNAME(domain, "blue.example.com")
				w.dns.SetTXT("blue.example.com", one)
				w.want(one)
				w.dns.SetCNAME(domain, "Alias.example.com")
				w.dns.SetCNAME("alias.example.com", "GREEN.example.com")
				w.dns.SetTXT("green.example.com", two)
				w.want(two)
				w.dns.SetCNAME(domain, strings.ToUpper(endpoint))
				w.want(one)
				w.wantCalls(1)
			})
		})
	}
}

func TestChainOfTenCNAMEsIsTheLongest(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.AnswerOneHop(true)
		w.dns.SetCNAME(domain, "a1.example.com")
		for i := 1; i < 10; i++ {
			w.dns.SetCNAME(fmt.Sprintf("a%d.example.com", i), fmt.Sprintf("a%d.example.com", i+1))
		}
		w.dns.SetTXT("a10.example.com", one)
		w.want(one)

		w.dns.SetCNAME("other.example.com", domain)
		err := w.start("other.example.com", time.Minute).wantErr(0)
		if lookupError(t, err, "a9.example.com is a CNAME for a10.example.com", "more than 10 CNAMEs").Temporary() {
			t.Error("it is temporary")
		}
	})
}

func TestLoopOfCNAMEsIsNoticed(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.AnswerOneHop(true)
		w.dns.SetCNAME(domain, "b.example.com")
		w.dns.SetCNAME("b.example.com", "c.example.com")
		w.dns.SetCNAME("c.example.com", "B.example.com")
		err := w.start(domain, time.Minute).wantErr(0)
		if lookupError(t, err, "c.example.com is a CNAME for b.example.com", "loop").Temporary() {
			t.Error("it is temporary")
		}
		if got := len(w.dns.Queries("b.example.com")); got != 2 {
			t.Errorf("%d questions for one name of the loop, want 2", got)
		}
	})
}

func TestErrorTellsWhatWasTried(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.AnswerOneHop(true)
		w.dns.SetTXT(domain, one+" ", "line\nbreak", "\xff\u2028", strings.Repeat("x", 500), "a", "b", "c")
		w.dns.SetHost(domain, "203.0.113.1")
		err := w.start(domain, time.Minute).wantErr(0)
		e := lookupError(t, err, "db.example.com does not lead to an instance: no TXT record of db.example.com is an instance connection name: ",
			`"a", "b", "c", "line\nbreak", "my-project:europe-west1:one "`, "and 2 more", "db.example.com has no CNAME")
		if e.Temporary() || e.Domain != domain || len(e.Error()) > 600 {
			t.Errorf("%d bytes, temporary %t, for %q", len(e.Error()), e.Temporary(), e.Domain)
		}

		w.dns.Remove(domain)
		w.dns.SetCNAME(domain, "blue.example.com")
		err = w.start(domain, time.Minute).wantErr(0)
		lookupError(t, err, "TXT records of db.example.com", "is a CNAME for blue.example.com", "TXT records of blue.example.com", "no such host", "CNAME of blue.example.com")
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
			t.Errorf("%v has no DNS error in it", err)
		}

		w.dns.SetCNAME(domain, "not a name.example.com")
		err = w.start(domain, time.Minute).wantErr(0)
		lookupError(t, err, `is a CNAME for "not a name.example.com.", which is not a domain name`)

		w.dns.SetCNAME(domain, "a1.example.com")
		long := strings.Repeat(strings.Repeat("a", 60)+".", 3) + "example.com"
		w.dns.SetCNAME("a1.example.com", long)
		for i := range 8 {
			next := fmt.Sprint("a", i) + long[2:]
			w.dns.SetCNAME(long, next)
			long = next
		}
		if err := w.start(domain, time.Minute).wantErr(0); len(err.Error()) > 2010 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

func TestWhatIsNoDomainNameIsRefused(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		long := strings.Repeat(strings.Repeat("a", 60)+".", 4) + "example"
		for _, name := range []string{"", ".", "db", "localhost", "db.", "localhost.", "10.0.0.1", "db..example.com", ".example.com", "-db.example.com", "db.example.com..", "db.example.com\n", " db.example.com",
			"db.example.com:3307", "p:r:i", "b\u00fccher.example.com", "db.\u212Aom", "db.example.\u212A", strings.Repeat("a", 64) + ".example.com", long + ".com"} {
			_, err := w.r.Resolve(t.Context(), name)
			if e, ok := errors.AsType[*resolve.NameError](err); !ok || e.Text != name || !strings.Contains(err.Error(), `want labels of letters, digits and hyphens between dots, such as "db.example.com"`) || len(err.Error()) > 400 {
				t.Errorf("%q: %v", name, err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: the error has several lines", name)
			}
		}
		for _, secret := range []string{"postgres://user:secret@db/x", "user=postgres password=secret"} {
			if _, err := w.r.Resolve(t.Context(), secret); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v", err)
			}
		}
		for _, name := range []string{"_db.example.com", "a.b", "1.2.3.example", "a--b.c-d.e-f", long} {
			w.dns.SetTXT(name, one)
			w.start(name, time.Minute).want(0, one)
		}
	})
}

func TestOnlyNamesOfInstancesAreAskedOfTheAPI(t *testing.T) {
	for name, want := range map[string]string{
		"a.b.europe-west1.sql.goog":         "europe-west1 a.b.europe-west1.sql.goog.",
		"A.B.europe-west1.SQL-PSA.goog":     "europe-west1 a.b.europe-west1.sql-psa.goog.",
		"a.b.us-central1.sql-psc.goog.":     "us-central1 a.b.us-central1.sql-psc.goog.",
		"a.b.global.sql-psa.goog":           "",
		"primary.a.b.global.sql-psa.goog.":  "",
		"primary.a.b.europe-west1.sql.goog": "",
		"b.europe-west1.sql.goog":           "",
		"a.b.europe-west1.sql.google":       "",
		"a.b.europe-west1.sql-x.goog":       "",
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(t *testing.T, w *world) {
				plain := strings.ToLower(strings.TrimSuffix(name, "."))
				w.api.names[plain+"."] = one
				w.dns.SetTXT(name, two)
				w.dns.SetHost(name, "203.0.113.1")
				if want == "" {
					w.start(name, time.Minute).want(0, two, "203.0.113.1")
					w.wantCalls(0)
					return
				}
				w.start(name, time.Minute).want(0, one)
				w.wantCalls(1)
				if w.api.calls[0] != want || len(w.dns.Queries(name)) != 0 {
					t.Errorf("asked for %q, and DNS %d times", w.api.calls, len(w.dns.Queries(name)))
				}
			})
		})
	}
}

// partial returns records and an error at once, as a *net.Resolver can, and a
// CNAME that is the name itself.
type partial struct {
	*cloudsqltest.DNS
	err error
}

func (p partial) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, _ := p.DNS.LookupTXT(ctx, name)
	return texts, p.err
}

func (p partial) LookupCNAME(_ context.Context, name string) (string, error) {
	return strings.ToUpper(name) + ".", nil
}

func TestRecordsOfAPartialAnswerCount(t *testing.T) {
	t.Parallel()
	dns := cloudsqltest.NewDNS()
	dns.SetTXT(domain, one)
	w := newWorld(t, dns, partial{dns, &net.DNSError{Err: "misbehaving", Name: domain, IsTemporary: true}})
	defer w.r.Close()
	if a, err := w.r.Resolve(t.Context(), domain); err != nil || a.Instance != one {
		t.Errorf("got %+v, %v", a, err)
	}

	// Without an error of its own, DNS can say nothing, too.
	w = newWorld(t, dns, partial{dns, nil})
	defer w.r.Close()
	_, err := w.r.Resolve(t.Context(), "other.example.com")
	if lookupError(t, err, "other.example.com has no TXT record; other.example.com has no CNAME").Temporary() {
		t.Error("it is temporary")
	}
}

func TestOwnResolverGetsTheNameAsItIs(t *testing.T) {
	t.Parallel()
	dns := cloudsqltest.NewDNS()
	var asked []string
	w := newWorld(t, dns, listening{dns, &asked})
	defer w.r.Close()
	_, err := w.r.Resolve(t.Context(), "DB.example.com.")
	lookupError(t, err)
	if len(asked) != 1 || asked[0] != domain {
		t.Errorf("asked for %q", asked)
	}
}

type listening struct {
	*cloudsqltest.DNS
	asked *[]string
}

func (l listening) LookupTXT(ctx context.Context, name string) ([]string, error) {
	*l.asked = append(*l.asked, name)
	return l.DNS.LookupTXT(ctx, name)
}

func TestWorksWithTheStandardResolver(t *testing.T) {
	t.Parallel()
	dns := cloudsqltest.NewDNS()
	server := dns.Listen()
	defer server.Close()
	w := newWorld(t, dns, server.Resolver())
	defer w.r.Close()
	dns.SetCNAME(domain, "blue.example.com")
	dns.SetSplitTXT("blue.example.com", one[:5], one[5:])
	a, err := w.r.Resolve(t.Context(), domain)
	if err != nil || a.Instance != one {
		t.Errorf("got %+v, %v", a, err)
	}
	dns.SetCNAME("to-instance.example.com", endpoint)
	if a, err = w.r.Resolve(t.Context(), "to-instance.example.com"); err != nil || a.Instance != one || w.api.count() != 1 {
		t.Errorf("got %+v, %v after %d API calls", a, err, w.api.count())
	}
	_, err = w.r.Resolve(t.Context(), "nowhere.example.com")
	if lookupError(t, err, "no such host").Temporary() {
		t.Errorf("%v is temporary", err)
	}
}

func TestCloseInterruptsTheStandardResolver(t *testing.T) {
	t.Parallel()
	dns := cloudsqltest.NewDNS()
	hang := &cloudsqltest.DNSFault{Hang: true, Type: cloudsqltest.TXT}
	dns.Fail(domain, hang)
	server := dns.Listen()
	defer server.Close()
	w := newWorld(t, dns, server.Resolver())
	done := make(chan error, 1)
	go func() {
		_, err := w.r.Resolve(context.Background(), domain)
		done <- err
	}()
	for dns.Hits(hang) == 0 {
		runtime.Gosched()
	}
	w.r.Close() // the resolver's own timeout would ask a second time
	if err := <-done; !errors.Is(err, resolve.ErrClosed) || dns.Hits(hang) != 1 {
		t.Errorf("got %v after %d questions", err, dns.Hits(hang))
	}
}
