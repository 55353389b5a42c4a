package faults_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// inDNSWorld has two instances, and a DNS whose one name leads to the first.
func inDNSWorld(t *testing.T, test func(t *testing.T, w *world, dns *cloudsqltest.DNS), opts ...cloudsqlconn.Option) {
	t.Helper()
	inWorldWithNames(t, cloudsqltest.Instance{}, test, opts...)
}

func inWorldWithNames(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, w *world, dns *cloudsqltest.DNS), opts ...cloudsqlconn.Option) {
	t.Helper()
	dns := cloudsqltest.NewDNS()
	dns.SetTXT(testDomain, testInstance)
	inWorld(t, cfg, func(t *testing.T, w *world) {
		w.AddInstance(otherInstance, cloudsqltest.Instance{})
		test(t, w, dns)
	}, append(opts, cloudsqlconn.WithDNSResolver(dns))...)
}

func TestNamesOfAllKindsShareOneRefreshCache(t *testing.T) {
	const dnsName = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog"
	inWorldWithNames(t, cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{dnsName + "."}}, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
		dns.SetTXT("replica.example.com", "not an instance", "another:one", testInstance)
		dns.SetSplitTXT("split.example.com", testInstance[:9], testInstance[9:])
		dns.SetCNAME("alias.example.com", "db.example.com")
		dns.SetCNAME("alias-of-instance.example.com", "hop.example.com")
		dns.SetCNAME("hop.example.com", dnsName)
		for _, name := range []string{
			testInstance, testDomain, "DB.EXAMPLE.com.", "replica.example.com", "split.example.com", "alias.example.com",
			dnsName, strings.ToUpper(dnsName) + ".", "alias-of-instance.example.com",
		} {
			w.wantConn(name)
		}
		calls := map[string]int{}
		for _, r := range w.Requests() {
			calls[r.Call]++
		}
		if calls[cloudsqltest.ConnectSettings] != 1 || calls[cloudsqltest.GenerateEphemeralCert] != 1 || calls[cloudsqltest.ResolveConnectSettings] != 1 {
			t.Errorf("calls: %v, want one of each", calls)
		}
	}, cloudsqlconn.WithUnlistedDomain(true))
}

func TestNamesThatLeadNowhere(t *testing.T) {
	inDNSWorld(t, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
		dns.SetTXT("garbage.example.com", "v=spf1 -all", "my-project:db")
		dns.SetCNAME("a.example.com", "b.example.com")
		dns.SetCNAME("b.example.com", "a.example.com")
		dns.AnswerOneHop(true)
		for _, tt := range []struct {
			name   string
			target error
			tells  string
		}{
			{"garbage.example.com", cloudsqlconn.ErrNotFound, "v=spf1 -all"},
			{"none.example.com", cloudsqlconn.ErrNotFound, "none.example.com"},
			{"a.example.com", cloudsqlconn.ErrNotFound, "b.example.com"},
			{"localhost", cloudsqlconn.ErrBadName, "localhost"},
			{"db..example.com", cloudsqlconn.ErrBadName, "db..example.com"},
			{"not a name", cloudsqlconn.ErrBadName, "not a name"},
			{"a:b", cloudsqlconn.ErrBadName, "a:b"},
			{"", cloudsqlconn.ErrBadName, ""},
			{"42cf.2imj.europe-west1.sql.goog", cloudsqlconn.ErrNotFound, "resolveConnectSettings"},
		} {
			start := time.Now()
			_, err := w.dialer.Dial(t.Context(), tt.name)
			var e *cloudsqlconn.Error
			if !errors.As(err, &e) || e.Op != "resolve" || e.Hint == "" || !errors.Is(err, tt.target) || !strings.Contains(err.Error(), tt.tells) {
				t.Errorf("%s: got %v with hint %q, want %v", tt.name, err, e.Hint, tt.target)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("%s: it took %v", tt.name, d)
			}
		}
	})
}

// F31
func TestDNSFailuresAreSurvived(t *testing.T) {
	for name, fault := range map[string]*cloudsqltest.DNSFault{
		"SERVFAIL": {Code: cloudsqltest.ServFail},
		"NXDOMAIN": {Code: cloudsqltest.NXDomain},
		"timeout":  {Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			inDNSWorld(t, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
				open := w.wantConn(testDomain)
				dns.SetTXT(testDomain, otherInstance) // would be found if it were not for the fault
				dns.Fail(testDomain, fault)
				time.Sleep(10 * time.Minute)
				before := dns.Hits(fault)
				if before < 20 {
					t.Errorf("the fault happened %d times to the failover poll", before)
				}
				if err := echo(open); err != nil {
					t.Errorf("an open connection: %v", err)
				}
				if d := took(func() { w.wantConn(testDomain) }); d > 3*time.Second {
					t.Errorf("a Dial with the remembered answer took %v", d)
				}
				if dns.Hits(fault) == before {
					t.Error("the fault did not happen to the Dial")
				}
				if w.instance.Accepted() != 2 {
					t.Errorf("%d connections to the remembered instance, want 2", w.instance.Accepted())
				}
			})
		})
	}
}

func TestADialWaitsThroughPassingDNSFailures(t *testing.T) {
	inDNSWorld(t, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
		fault := &cloudsqltest.DNSFault{Code: cloudsqltest.ServFail, Times: 6}
		dns.Fail(testDomain, fault)
		w.wantConn(testDomain)
		if dns.Hits(fault) != 6 {
			t.Errorf("the fault happened %d times", dns.Hits(fault))
		}
	})
}

// F32
func TestAChangedRecordCountsAtTheNextDial(t *testing.T) {
	inDNSWorld(t, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
		dns.SetCNAME("alias.example.com", testDomain)
		dns.SetTXT("green.example.com", otherInstance)
		byTXT, byAlias := w.wantConn(testDomain), w.wantConn("alias.example.com")
		dns.SetTXT(testDomain, otherInstance)
		dns.SetCNAME("alias.example.com", "green.example.com")
		changed := time.Now()
		w.wantConn(testDomain)
		w.wantConn("alias.example.com")
		if w.instance.Accepted() != 2 {
			t.Error("a Dial went to the old instance")
		}
		for _, c := range []net.Conn{byTXT, byAlias} {
			_, err := c.Read(make([]byte, 1))
			if d := time.Since(changed); d > 31*time.Second || !errors.Is(err, net.ErrClosed) {
				t.Errorf("an old connection ended after %v with %v", d, err)
			}
		}
	})
}

func TestTheNamesOwnAddressesAreTriedFirst(t *testing.T) {
	inDNSWorld(t, func(t *testing.T, w *world, dns *cloudsqltest.DNS) {
		var dialled []string
		dialFunc := cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialled = append(dialled, addr)
			return w.DialContext(ctx, network, addr)
		})
		private, public := w.instance.Addrs()[cloudsqlconn.PrivateIP], w.instance.Addrs()[cloudsqlconn.PublicIP]
		dns.SetHost(testDomain, "127.9.9.9", private) // nobody listens at the first
		for range 2 {
			c, err := w.dialer.Dial(t.Context(), testDomain, dialFunc, cloudsqlconn.WithPublicIP())
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			dns.SetHost(testDomain, "127.9.9.9")
		}
		want := []string{"127.9.9.9:3307", private + ":3307", "127.9.9.9:3307", public + ":3307"}
		if !slices.Equal(dialled, want) {
			t.Errorf("dialled %v, want %v", dialled, want)
		}
	})
}

func TestInstanceDNSNamesCostOneCallAnHour(t *testing.T) {
	const dnsName = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql-psa.goog"
	inWorldWithNames(t, cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{dnsName}}, func(t *testing.T, w *world, _ *cloudsqltest.DNS) {
		resolved := func() (n int) {
			for _, r := range w.Requests() {
				if r.Call == cloudsqltest.ResolveConnectSettings {
					n++
				}
			}
			return n
		}
		for range 1000 {
			if err := w.dialer.Warmup(t.Context(), dnsName); err != nil {
				t.Fatal(err)
			}
		}
		if n := resolved(); n != 1 {
			t.Errorf("%d calls for 1,000 look-ups", n)
		}
		// The API is down for a day: what is known serves.
		down := &cloudsqltest.Fault{Status: http.StatusServiceUnavailable}
		for range 24 {
			time.Sleep(time.Hour)
			w.fault.Store(down)
			w.wantConn(dnsName)
			w.fault.Store(nil)
		}
	})
}

func TestRefusedInstanceDNSNamesAreRemembered(t *testing.T) {
	inDNSWorld(t, func(t *testing.T, w *world, _ *cloudsqltest.DNS) {
		for range 1000 {
			if err := w.dialer.Warmup(t.Context(), "42cf.2imj.europe-west1.sql.goog"); !errors.Is(err, cloudsqlconn.ErrNotFound) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := w.calls(); n > 6 {
			t.Errorf("%d calls for 1,000 Dials", n)
		}
	})
}

// With a real DNS server, a real resolver and real sockets.
func TestDNSOverTheWire(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewServer()
	defer s.Close()
	s.AddInstance(testInstance, cloudsqltest.Instance{})
	dns := cloudsqltest.NewDNS()
	dns.SetCNAME("app.example.com", testDomain)
	dns.SetTXT(testDomain, strings.Repeat("long ", 1000), testInstance) // by TCP
	server := dns.Listen()
	defer server.Close()
	d, err := cloudsqlconn.NewDialer(t.Context(), append(s.Options(), cloudsqlconn.WithDNSResolver(server.Resolver()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c, err := d.Dial(t.Context(), "app.example.com")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := echo(c); err != nil {
		t.Error(err)
	}
	if n := server.Counts().TCP; n == 0 {
		t.Error("nothing was asked over TCP")
	}
}
