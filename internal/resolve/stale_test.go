package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
)

var (
	servFail = cloudsqltest.DNSFault{Code: cloudsqltest.ServFail}
	nxDomain = cloudsqltest.DNSFault{Code: cloudsqltest.NXDomain}
	refused  = cloudsqltest.DNSFault{Code: cloudsqltest.Refused}
	lost     = cloudsqltest.DNSFault{Hang: true}
)

// fail makes DNS fail for a name, and returns the fault.
func (w *world) fail(name string, f cloudsqltest.DNSFault) *cloudsqltest.DNSFault {
	w.dns.Fail(name, &f)
	return &f
}

func TestNextResolveSeesAChangedRecord(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.want(one)
		w.dns.SetTXT(domain, two)
		w.want(two)
		if got := len(w.dns.Queries(domain)); got != 2*3 { // TXT, A, AAAA
			t.Errorf("%d questions, want 6", got)
		}
	})
}

func TestLastAnswerServesWhenALookupFails(t *testing.T) {
	for _, fault := range []cloudsqltest.DNSFault{servFail, nxDomain, refused} {
		t.Run(fault.Code.String(), func(t *testing.T) {
			tell(t, func(t *testing.T, w *world) {
				w.dns.SetTXT(domain, one)
				w.dns.SetHost(domain, "203.0.113.1")
				w.want(one, "203.0.113.1")
				fault.Type = cloudsqltest.TXT
				f := w.fail(domain, fault)
				for range 10 {
					time.Sleep(10 * time.Minute)
					w.want(one, "203.0.113.1")
				}
				w.wantHits(f, 10)
				w.dns.Fail(domain)
				w.dns.SetTXT(domain, two)
				w.want(two, "203.0.113.1")
			})
		})
	}
}

func TestLastAnswerServesWhenRecordsAreWrong(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetCNAME(domain, "blue.example.com")
		w.dns.SetTXT("blue.example.com", one)
		w.want(one)
		w.dns.SetTXT("blue.example.com", "not an instance")
		w.want(one)
		w.dns.SetCNAME(domain, "nowhere.example.com")
		w.want(one)
		w.dns.SetCNAME(domain, "a.b.europe-west1.sql.goog") // which the API does not know
		w.want(one)
		w.wantCalls(1)
		w.dns.SetCNAME(domain, "")
		w.dns.SetTXT(domain, two)
		w.want(two)
		w.dns.Remove(domain)
		w.want(two)
	})
}

func TestHangingLookupDoesNotHoldUpForLong(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.want(one)
		f := w.fail(domain, cloudsqltest.DNSFault{Hang: true, Type: cloudsqltest.TXT})
		w.start(domain, 0).want(2*time.Second, one)
		w.want(one) // the same look-up has been waited for
		w.wantHits(f, 1)

		time.Sleep(20 * time.Second)
		w.start(domain, time.Second).want(500*time.Millisecond, one)
		time.Sleep(20 * time.Second)
		c := w.start(domain, time.Minute)
		time.Sleep(time.Second)
		w.start(domain, time.Minute).want(time.Second, one)
		c.want(2*time.Second, one)
		w.wantHits(f, 3)

		// The look-up goes on meanwhile, and what it finds is the next answer's
		// only if it is asked for again.
		w.dns.SetTXT(domain, two)
		time.Sleep(20 * time.Second)
		slow := w.fail(domain, cloudsqltest.DNSFault{Delay: 5 * time.Second, Type: cloudsqltest.TXT})
		w.start(domain, time.Minute).want(2*time.Second, one)
		time.Sleep(2 * time.Second)
		c = w.start(domain, 10*time.Second)
		c.want(0, one)
		w.wantHits(slow, 1)
		w.dns.Fail(domain)
		time.Sleep(2 * time.Second)
		w.want(two)
	})
}

func TestCallersAtTheSameTimeShareOneLookup(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.dns.SetHost(domain, "203.0.113.1")
		f := w.fail(domain, cloudsqltest.DNSFault{Delay: 100 * time.Millisecond})
		var calls []*call
		for i := range 1000 {
			calls = append(calls, w.start([]string{domain, "DB.example.com."}[i%2], time.Minute))
		}
		hurried := w.start(domain, 50*time.Millisecond)
		err := hurried.wantErr(50*time.Millisecond, context.DeadlineExceeded) // and hurts nobody
		if got := err.Error(); got != "context deadline exceeded while waiting for DNS" {
			t.Error(got)
		}
		for _, c := range calls {
			c.want(200*time.Millisecond, one, "203.0.113.1") // A, then AAAA
		}
		w.wantHits(f, 3)
	})
}

func TestTemporaryFailuresAreTriedAgain(t *testing.T) {
	for name, f := range map[string]cloudsqltest.DNSFault{"SERVFAIL": servFail, "lost": lost} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(t *testing.T, w *world) {
				w.dns.SetTXT(domain, one)
				f.Type, f.Times = cloudsqltest.TXT, 3
				fault := w.fail(domain, f)
				c := w.start(domain, 0)
				<-c.done
				w.wantHits(fault, 3)
				least := 700 * time.Millisecond // 0.2 + 0.4 + 0.8 s, half of each
				if f.Hang {
					least += 30 * time.Second
				}
				if c.err != nil || c.a.Instance != one || c.took < least || c.took > least+1400*time.Millisecond {
					t.Errorf("after %v: %+v, %v", c.took, c.a, c.err)
				}
			})
		})
	}
}

func TestCallersTryAgainTogether(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		f := w.fail(domain, cloudsqltest.DNSFault{Type: cloudsqltest.TXT, Code: cloudsqltest.ServFail, Delay: 10 * time.Millisecond})
		var calls []*call
		for range 200 {
			calls = append(calls, w.start(domain, 10*time.Second))
		}
		for _, c := range calls {
			<-c.done
			lookupError(t, c.err, "TXT records of db.example.com", "server misbehaving")
		}
		if got := w.dns.Hits(f); got < 4 || got > 40 {
			t.Errorf("%d look-ups, want 4 to 40", got)
		}
	})
}

func TestTemporaryFailuresEndWithTheContext(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		// With time for no other try, the caller is not held up for nothing.
		w.fail(domain, servFail)
		c := w.start(domain, time.Second)
		<-c.done
		if e := lookupError(t, c.err, "server misbehaving"); !e.Temporary() || c.took > time.Second || c.took < 900*time.Millisecond {
			t.Errorf("after %v: %v", c.took, c.err)
		}
		w.fail(domain, lost)
		w.start(domain, time.Second).wantErr(time.Second, context.DeadlineExceeded)

		// Somebody gives up in a pause.
		w.fail(domain, servFail)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the user has left")
		time.AfterFunc(5*time.Second, func() { cancel(why) })
		_, err := w.r.Resolve(ctx, domain)
		for _, target := range []error{why, context.Canceled} {
			if !errors.Is(err, target) {
				t.Errorf("%v is not %v", err, target)
			}
		}
		if _, err := w.r.Resolve(ctx, domain); !errors.Is(err, why) {
			t.Errorf("with a context that has ended: %v", err)
		}
	})
}

// Callers whose time ended during a look-up were told no more than that, though
// the server had just said that it is out of order: the same as in issue 13,
// point 7.
func TestTheEndOfTheContextDoesNotHideWhatDNSHasSaid(t *testing.T) {
	t.Parallel()
	t.Run("in the look-up before", func(t *testing.T) {
		tell(t, func(t *testing.T, w *world) {
			w.dns.SetTXT(domain, one)
			busy, silent := servFail, lost
			busy.Type, busy.Times = cloudsqltest.TXT, 1
			fault := w.fail(domain, busy)
			c := w.start(domain, 5*time.Second)
			w.wantHits(fault, 1)
			w.fail(domain, silent)
			lookupError(t, c.wantErr(5*time.Second, context.DeadlineExceeded), "server misbehaving")
		})
	})
	t.Run("in this one", func(t *testing.T) {
		tell(t, func(t *testing.T, w *world) {
			busy, silent := servFail, lost
			busy.Type, busy.Times = cloudsqltest.TXT, 1
			busy.Delay = time.Second
			fault := w.fail(domain, busy)
			c := w.start(domain, 5*time.Second)
			w.fail(domain, silent)
			lookupError(t, c.wantErr(5*time.Second, context.DeadlineExceeded), "server misbehaving")
			w.wantHits(fault, 1)
		})
	})
}

func TestCallerThatGivesUpGetsItsOwnError(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.want(one)
		w.fail(domain, lost)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if a, err := w.r.Resolve(ctx, domain); !errors.Is(err, context.Canceled) {
			t.Errorf("got %+v, %v", a, err)
		}
	})
}

func TestLastingFailuresAreTold(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		for _, fault := range []cloudsqltest.DNSFault{nxDomain, refused} {
			w.fail(domain, fault)
			err := w.start(domain, 0).wantErr(0)
			if lookupError(t, err, domain).Temporary() {
				t.Errorf("%v is temporary", err)
			}
		}
	})
}

// odd fails in ways that a *net.Resolver does not.
type odd struct {
	*cloudsqltest.DNS
	err error
}

func (o *odd) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := o.err; err != nil {
		o.err = nil
		return nil, err
	}
	return o.DNS.LookupTXT(ctx, name)
}

type temporaryError struct{ error }

func (temporaryError) Temporary() bool { return true }

type timeoutError struct{ error }

func (timeoutError) Timeout() bool { return true }

func TestErrorsOfOtherResolversAreJudged(t *testing.T) {
	any := errors.New("any")
	for _, tt := range []struct {
		err   error
		again bool
	}{
		{any, false},
		{errors.New(strings.Repeat("long\n", 100)), false},
		{temporaryError{any}, true},
		{timeoutError{any}, true},
		{fmt.Errorf("asking: %w", &net.OpError{Op: "dial", Err: any}), true},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), true},
		{&net.DNSError{Err: "any"}, false},
		{&net.DNSError{Err: "any", IsTimeout: true}, true},
	} {
		t.Run(fmt.Sprintf("%T %.20v", tt.err, tt.err), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dns := cloudsqltest.NewDNS()
				dns.SetTXT(domain, one)
				w := newWorld(t, dns, &odd{dns, tt.err})
				defer w.r.Close()
				a, err := w.r.Resolve(t.Context(), domain)
				switch {
				case tt.again && (err != nil || a.Instance != one):
					t.Errorf("got %+v, %v", a, err)
				case !tt.again && (!errors.Is(err, tt.err) || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n")):
					t.Errorf("got %+v, %v, want %v", a, err, tt.err)
				}
			})
		})
	}
}

func TestCloseEndsEveryResolve(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, one)
		w.want(one)
		w.fail(domain, lost)
		w.fail("cold.example.com", lost)
		w.fail("failing.example.com", servFail)
		w.api.set(func(a *api) { a.hangs = true })
		w.dns.SetCNAME("alias.example.com", endpoint)
		var calls []*call
		for _, name := range []string{domain, "cold.example.com", "failing.example.com", endpoint, "alias.example.com"} {
			calls = append(calls, w.start(name, 0))
		}
		time.Sleep(time.Second)
		w.r.Close()
		for _, c := range calls {
			c.wantErr(time.Second, resolve.ErrClosed)
		}
		before := len(w.dns.Queries(domain))
		for _, name := range []string{domain, endpoint, "new.example.com"} {
			w.start(name, 0).wantErr(0, resolve.ErrClosed)
		}
		w.r.Close()
		if got := len(w.dns.Queries(domain)); got != before {
			t.Error("DNS is asked after Close")
		}
	})
}

func TestNamesThatNobodyAsksForAreForgotten(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		name := func(i int) string { return fmt.Sprintf("n%d.example.com", i) }
		resolve := func(from, to int) {
			t.Helper()
			for i := from; i < to; i++ {
				w.dns.SetTXT(name(i), one)
				if _, err := w.r.Resolve(t.Context(), name(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		wantKnown := func(i int, known bool) {
			t.Helper()
			w.dns.Remove(name(i))
			if _, err := w.r.Resolve(t.Context(), name(i)); (err == nil) != known {
				t.Errorf("%s: %v, want it to be known: %t", name(i), err, known)
			}
		}
		resolve(0, 32)
		time.Sleep(10 * time.Minute)
		resolve(32, 64)
		time.Sleep(10 * time.Minute)
		wantKnown(0, true) // there was no need to look
		resolve(64, 65)
		wantKnown(1, false)
		wantKnown(32, true)

		// There are never too many.
		resolve(100, 4500)
		wantKnown(33, false)
		wantKnown(4499, true)
	})
}
