package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// resolve asks for the instance and returns what came.
func (w *world) resolve(name string) (string, error) {
	a, err := w.r.Resolve(w.t.Context(), name)
	return a.Instance, err
}

func TestAnswersOfTheAPIAreKeptForAnHour(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		var calls []*call
		for range 100 {
			calls = append(calls, w.start(endpoint, time.Minute))
		}
		for _, c := range calls {
			c.want(0, one)
		}
		w.dns.SetCNAME(domain, endpoint)
		w.want(one)
		w.wantCalls(1)
		time.Sleep(29 * time.Minute)
		w.want(one)
		w.wantCalls(1)

		w.api.set(func(a *api) { a.names[endpoint+"."] = two })
		time.Sleep(2 * time.Minute)
		w.want(one) // and asks anew in the background
		w.want(two)
		w.wantCalls(2)
		time.Sleep(10 * time.Hour)
		w.want(two)
		w.wantCalls(3)
	})
}

func TestRefusalsOfTheAPIAreRemembered(t *testing.T) {
	for _, refusal := range []error{errMissing, errDenied, errQuota} {
		t.Run(refusal.Error(), func(t *testing.T) {
			tell(t, func(t *testing.T, w *world) {
				w.api.set(func(a *api) { a.err = refusal })
				w.dns.SetCNAME(domain, endpoint)
				for i := range 1000 {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
					_, err := w.r.Resolve(ctx, []string{domain, endpoint}[i%2])
					cancel()
					if f, ok := errors.AsType[*refresh.Failure](err); !ok || !errors.Is(err, refusal) || f.Attempts == 0 {
						t.Fatalf("got %v, want %v", err, refusal)
					}
					time.Sleep(10 * time.Millisecond)
				}
				if got := w.api.count(); got > 6 {
					t.Errorf("%d API calls, want 6 at most", got)
				}
				w.api.set(func(a *api) { a.err = nil })
				time.Sleep(30 * time.Second)
				w.want(one)
			})
		})
	}
}

func TestTransientFailuresOfTheAPIAreWaitedFor(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.api.set(func(a *api) { a.err = errDown })
		c := w.start(endpoint, time.Minute)
		time.Sleep(time.Second / 2)
		w.api.set(func(a *api) { a.err = nil })
		c.want(time.Second, one)
		w.wantCalls(2)
	})
}

func TestLastAnswerOfTheAPIServesPastItsHour(t *testing.T) {
	for _, failure := range []error{errMissing, errDenied, errQuota, errDown} {
		t.Run(failure.Error(), func(t *testing.T) {
			tell(t, func(t *testing.T, w *world) {
				w.start(endpoint, time.Minute).want(0, one)
				w.api.set(func(a *api) { a.err = failure })
				time.Sleep(2 * time.Hour)
				began := time.Now()
				if got, err := w.resolve(endpoint); err != nil || got != one || time.Since(began) > 2*time.Second {
					t.Fatalf("after %v: %q, %v", time.Since(began), got, err)
				}
				for range 1000 { // nobody waits while it is known to fail
					w.start(endpoint, time.Minute).want(0, one)
					time.Sleep(10 * time.Millisecond)
				}
				if got := w.api.count(); got < 2+1 || got > 1+6 {
					t.Errorf("%d API calls", got)
				}
				w.api.set(func(a *api) { a.err, a.names[endpoint+"."] = nil, two })
				time.Sleep(30 * time.Second)
				w.start(endpoint, time.Minute).want(0, one) // and asks in the background
				w.start(endpoint, time.Minute).want(0, two)
			})
		})
	}
}

func TestHangingAPIDoesNotHoldUpForLong(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetCNAME(domain, endpoint)
		w.want(one)
		w.api.set(func(a *api) { a.hangs = true })
		time.Sleep(2 * time.Hour)
		w.start(endpoint, time.Second).want(500*time.Millisecond, one)
		w.start(endpoint, 0).want(2*time.Second, one)
		w.start(domain, time.Minute).want(2*time.Second, one)
		w.wantCalls(2)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := w.r.Resolve(ctx, endpoint); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		w.start("a.b.europe-west1.sql.goog", time.Second).wantErr(time.Second, context.DeadlineExceeded)
	})
}

func TestLastAnswerServesWhileTheAPIHangs(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetTXT(domain, two)
		w.want(two)
		w.dns.Remove(domain)
		w.dns.SetCNAME(domain, endpoint)
		w.api.set(func(a *api) { a.hangs = true })
		w.start(domain, time.Minute).want(2*time.Second, two)
		w.wantCalls(1)
		w.api.set(func(a *api) { a.hangs = false })
		time.Sleep(2 * time.Minute)
		w.want(one)
	})
}

func TestLaterLookupDecidesWhatIsRemembered(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		w.dns.SetCNAME(domain, endpoint)
		w.api.set(func(a *api) { a.delay = time.Minute })
		early := w.start(domain, 0)
		time.Sleep(time.Second)
		w.dns.SetTXT(domain, two)
		w.want(two)
		early.want(time.Minute, one)
		w.dns.Remove(domain)
		w.want(two)
	})
}

func TestAnswerOfTheAPIMustNameAnInstance(t *testing.T) {
	for _, name := range []string{"not an instance", "a:b", strings.Repeat("a:", 1000)} {
		t.Run(fmt.Sprint(len(name)), func(t *testing.T) {
			tell(t, func(t *testing.T, w *world) {
				w.api.names[endpoint+"."] = name
				c := w.start(endpoint, time.Second)
				<-c.done
				err := c.err
				if err == nil || !strings.Contains(err.Error(), "the Admin API says that "+endpoint+" is the instance") || len(err.Error()) > 500 {
					t.Error(err)
				}
			})
		})
	}
}

func TestNamesOfInstancesAreForgottenToo(t *testing.T) {
	tell(t, func(t *testing.T, w *world) {
		name := func(i int) string { return fmt.Sprintf("a%d.b.europe-west1.sql.goog", i) }
		w.api.set(func(a *api) {
			for i := range 5000 {
				a.names[name(i)+"."] = one
			}
			a.hangs = true
		})
		first := w.start(name(0), 0)
		w.api.set(func(a *api) { a.hangs = false })
		for i := 1; i < 4097; i++ {
			time.Sleep(time.Millisecond)
			if got, err := w.resolve(name(i)); err != nil || got != one {
				t.Fatalf("%s: %q, %v", name(i), got, err)
			}
		}
		<-first.done // its call was ended for the sake of others, and made again
		if first.err != nil || first.a.Instance != one {
			t.Errorf("got %+v, %v", first.a, first.err)
		}
		w.wantCalls(4098)
		if _, err := w.resolve(name(1)); err != nil {
			t.Error(err)
		}
		w.wantCalls(4099)
		if _, err := w.resolve(name(4000)); err != nil {
			t.Error(err)
		}
		w.wantCalls(4099)
	})
}
