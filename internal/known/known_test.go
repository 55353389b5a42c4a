package known_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/dialing"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/known"
	"github.com/cloudsqlconn/cloudsqlconn/internal/observe"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
)

// world is an instance all of whose addresses refuse connections.
type world struct {
	*known.Instance
	t     *testing.T
	dials dialing.Set

	mu      sync.Mutex // guards everything below
	addr    string     // in the metadata
	takes   time.Duration
	fetches int
	dialled []string
	first   time.Time // when that began
	again   int
	changed int
}

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, addr: "10.0.0.1"}
		told := telemetry.New(telemetry.Config{ErrorType: func(error) string { return "" }, Read: func(func(*telemetry.Instance, telemetry.Reading)) {}})
		defer told.Close()
		w.Instance = known.New(known.Config{
			Fetch:     w.fetch,
			Policy:    refresh.Policy{Lazy: true},
			Dials:     &w.dials,
			Seen:      observe.New(told.Instance("p:r:i", false), slog.New(slog.DiscardHandler), "p:r:i", false),
			Again:     func(context.Context, *known.Error) { w.with(func() { w.again++ }) },
			Refreshed: func(time.Time) {},
			Changed:   func() { w.with(func() { w.changed++ }) },
		})
		defer w.Cache.Close()
		test(w)
	})
}

func (w *world) with(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *world) fetch(context.Context) (*admin.Info, time.Time, error) {
	info := &admin.Info{Asked: time.Now(), Expiry: time.Now().Add(time.Hour)}
	var takes time.Duration
	w.with(func() {
		w.fetches++
		info.Addrs = admin.Addrs{admin.Private: {w.addr}}
		takes = w.takes
	})
	time.Sleep(takes)
	return info, info.Expiry, nil
}

func (w *world) dial(_ context.Context, _, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	w.with(func() {
		if w.dialled = append(w.dialled, host); len(w.dialled) == 1 {
			w.first = time.Now()
		}
	})
	return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
}

// get is what is known.
func (w *world) get() *admin.Info {
	w.t.Helper()
	info, err := w.Cache.Get(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

// connect is a Dial, which fails.
func (w *world) connect(timeout time.Duration, kind string) *known.Error {
	w.t.Helper()
	g := w.dials.Begin(w.t.Context(), timeout)
	defer g.End()
	_, failed := w.Connect(g, &reach.Target{Types: []string{kind}, Way: &reach.Way{Dial: w.dial}})
	if failed == nil {
		w.t.Fatal("there is a connection")
	}
	return failed
}

func (w *world) want(fetches, again, changed int, dialled ...string) {
	w.t.Helper()
	w.with(func() {
		if w.fetches != fetches || w.again != again || w.changed != changed || !slices.Equal(w.dialled, dialled) {
			w.t.Errorf("fetched %d times, tried again %d times, %d changes, dialled %v; want %d, %d, %d, %v",
				w.fetches, w.again, w.changed, w.dialled, fetches, again, changed, dialled)
		}
	})
}

func TestMetadataIsBelievedThatWasAskedForAfterAFailure(t *testing.T) {
	inWorld(t, func(w *world) {
		const a = "10.0.0.1"
		if failed := w.connect(time.Minute, admin.Private); failed.Op != failure.OpDial || !errors.Is(failed, syscall.ECONNREFUSED) {
			w.t.Errorf("got %v", failed)
		}
		w.want(2, 1, 0, a, a)
		began := time.Now()
		w.connect(time.Minute, admin.Private)
		if took := time.Since(began); took != 0 {
			w.t.Errorf("waited for %v", took)
		}
		w.want(2, 1, 0, a, a, a)
	})
}

func TestAnInstanceOnTheMoveIsFollowedTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		const a, b = "10.0.0.1", "10.0.0.2"
		w.get()
		w.with(func() { w.addr = b })
		w.connect(time.Minute, admin.Private)
		w.want(3, 2, 1, a, b, b)
	})
}

// Metadata that is another each time, and leads nowhere, is no reason to ask more often.
func TestMetadataThatIsNeverTheSameDoesNotHammerTheAPI(t *testing.T) {
	inWorld(t, func(w *world) {
		w.get()
		for n := range 60 {
			w.with(func() { w.addr = []string{"10.0.0.1", "10.0.0.2"}[n%2] })
			w.connect(time.Second, admin.Private)
			time.Sleep(time.Second)
		}
		w.with(func() {
			if w.fetches > 9 {
				w.t.Errorf("fetched %d times, want 9 at the most", w.fetches)
			}
		})
	})
}

func TestWithoutAnAddressThereIsNoOtherTry(t *testing.T) {
	inWorld(t, func(w *world) {
		if failed := w.connect(time.Minute, admin.PSC); !errors.Is(failed, failure.ErrNoAddress) {
			w.t.Errorf("got %v", failed)
		}
		w.want(1, 0, 0)
	})
}

// A caller who has gone says nothing about the instance.
func TestAnEndThatIsTheCallersIsNotBlamedOnTheMetadata(t *testing.T) {
	inWorld(t, func(w *world) {
		w.get()
		ctx, cancel := context.WithCancel(w.t.Context())
		cancel()
		g := w.dials.Begin(ctx, time.Minute)
		defer g.End()
		_, failed := w.Connect(g, &reach.Target{Types: []string{admin.Private}, Way: &reach.Way{Dial: w.dial}})
		if !errors.Is(failed, context.Canceled) {
			w.t.Errorf("got %v", failed)
		}
		synctest.Wait()
		w.with(func() {
			if w.fetches != 1 || w.again != 0 {
				w.t.Errorf("fetched %d times, tried again %d times", w.fetches, w.again)
			}
		})
	})
}

// alert is what crypto/tls makes of one.
var alert = &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}

func TestARefusedCertificateIsNotUsedWhileANewerOneComesSoon(t *testing.T) {
	for _, tt := range []struct {
		name           string
		early          bool          // a fetch has begun before the refusal, which proves nothing for what it brings
		takes, timeout time.Duration // a fetch, and the Dial
		accepted       bool          // meanwhile
		wait           time.Duration
	}{
		{name: "it comes", takes: 3 * time.Second, timeout: time.Minute, wait: 3 * time.Second},
		{name: "one came that was asked for before", early: true, takes: 3 * time.Second, timeout: time.Minute, wait: 3 * time.Second},
		{name: "none comes for half the time", early: true, takes: 10 * time.Second, timeout: 4 * time.Second, wait: 2 * time.Second},
		{name: "it is accepted after all", takes: 3 * time.Second, timeout: time.Minute, accepted: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				info := w.get()
				time.Sleep(time.Minute)
				w.with(func() { w.takes = tt.takes })
				if tt.early {
					w.Cache.Refresh(info)
					time.Sleep(time.Second)
				}
				err := w.Unheard(info, alert)
				if _, ok := errors.AsType[*reach.RefusedError](err); !ok || !errors.Is(err, driver.ErrBadConn) || !errors.Is(err, alert) {
					w.t.Errorf("got %v", err)
				}
				if tt.early {
					time.Sleep(tt.takes)
				}
				if tt.accepted {
					w.Accepted(info)
				}
				began := time.Now()
				w.connect(tt.timeout, admin.Private)
				w.with(func() {
					if wait := w.first.Sub(began); wait != tt.wait {
						w.t.Errorf("the first try came after %v, want %v", wait, tt.wait)
					}
				})
			})
		})
	}
}

// A connection that was made with an older one can be refused after all that: its first
// Read may come late.
func TestARefusalOfAnOlderCertificateSaysNothingOfOneThatWasAccepted(t *testing.T) {
	inWorld(t, func(w *world) {
		old := w.get()
		time.Sleep(time.Minute)
		_ = w.Unheard(old, alert)
		w.Accepted(w.get())
		time.Sleep(time.Minute)
		_ = w.Unheard(old, alert)
		w.with(func() { w.takes = 3 * time.Second })
		began := time.Now()
		w.connect(time.Minute, admin.Private)
		w.with(func() {
			if wait := w.first.Sub(began); wait != 0 {
				w.t.Errorf("the first try came after %v", wait)
			}
		})
	})
}

// The alert may have been lost.
func TestACutConnectionIsAReasonToLook(t *testing.T) {
	inWorld(t, func(w *world) {
		info := w.get()
		if err := w.Unheard(info, syscall.ECONNRESET); err != syscall.ECONNRESET {
			w.t.Errorf("got %v", err)
		}
		synctest.Wait()
		w.want(2, 0, 0)
	})
}
