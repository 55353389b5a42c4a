package resolve_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// failHosts makes look-ups of the domain's hosts fail.
func (w *world) failHosts(f cloudsqltest.DNSFault) *cloudsqltest.DNSFault {
	four, six := f, f
	four.Type, six.Type = cloudsqltest.A, cloudsqltest.AAAA
	w.dns.Fail(domain, &four, &six)
	return &four
}

func TestHostsOfTheDomainComeWithTheAnswer(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.want(one)
		w.dns.SetHost(domain, "2001:db8::1", "203.0.113.1", "203.0.113.2", "0.0.0.0", "::")
		w.want(one, "203.0.113.1", "203.0.113.2", "2001:db8::1")
		w.dns.SetHost(domain, "203.0.113.3")
		w.want(one, "203.0.113.3")
		w.dns.SetHost(domain)
		w.want(one)

		w.dns.SetTXT(domain)
		w.dns.SetCNAME(domain, endpoint)
		w.dns.SetHost(endpoint, "203.0.113.4")
		w.want(one, "203.0.113.4")
	})
}

func TestAnswersDoNotShareTheirHosts(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.dns.SetHost(domain, "203.0.113.1")
		a, err := w.r.Resolve(t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		a.Hosts[0] = "overwritten"
		w.failHosts(servFail)
		w.want(one, "203.0.113.1")
	})
}

func TestLastHostsServeWhenTheirLookupFails(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.dns.SetHost(domain, "203.0.113.1")
		f := w.failHosts(servFail)
		w.want(one) // it is no error
		w.dns.Fail(domain)
		w.want(one, "203.0.113.1")
		f2 := w.failHosts(servFail)
		w.want(one, "203.0.113.1")
		w.wantHits(f, 1)
		w.wantHits(f2, 1)
		w.failHosts(nxDomain) // which says that there are none
		w.want(one)
	})
}

func TestHostsAreNotWaitedForLong(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.dns.SetHost(domain, "203.0.113.1")
		f := w.failHosts(lost)
		w.start(domain, time.Minute).want(500*time.Millisecond, one)
		w.want(one) // the same look-up has been waited for
		w.wantHits(f, 1)
		time.Sleep(time.Minute)

		// What comes late is there the next time.
		f = w.failHosts(cloudsqltest.DNSFault{Delay: time.Second})
		w.start(domain, time.Minute).want(500*time.Millisecond, one)
		time.Sleep(3 * time.Second)
		w.start(domain, time.Minute).want(500*time.Millisecond, one, "203.0.113.1")
		w.wantHits(f, 2)
		time.Sleep(time.Minute)

		// A caller that gives up has its answer.
		w.failHosts(lost)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if a, err := w.r.Resolve(ctx, domain); err != nil || len(a.Hosts) != 1 {
			t.Errorf("got %+v, %v", a, err)
		}
	})
}

func TestCloseEndsTheWaitForHosts(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.failHosts(lost)
		c := w.start(domain, 0)
		w.r.Close()
		c.want(0, one)
	})
}

func TestNothingRunsWhileNobodyAsks(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.dns.SetHost(domain, "203.0.113.1")
		w.want(one, "203.0.113.1")
		w.start(endpoint, time.Minute).want(0, one)
		synctest.Wait()
		before := len(w.dns.Queries(domain))
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if got := len(w.dns.Queries(domain)); got != before {
			t.Errorf("%d questions, want %d", got, before)
		}
		w.wantCalls(1)
	})
}
