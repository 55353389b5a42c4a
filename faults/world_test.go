package faults_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

const testInstance = "my-project:europe-west1:my-db"

// world is one emulated instance and a Dialer for it.
type world struct {
	*cloudsqltest.Server
	t        *testing.T
	instance *cloudsqltest.EmulatedInstance
	dialer   *cloudsqlconn.Dialer
	told     *witness // what all its Dialers tell

	fault  atomic.Pointer[cloudsqltest.Fault] // for every Admin API request, if not nil
	faults atomic.Int64                       // requests it has hit
}

// inWorld runs a test on fake time, on a network in memory.
func inWorld(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, w *world), opts ...cloudsqlconn.Option) {
	t.Helper()
	t.Parallel()
	inQuietWorld(t, cfg, test, opts...)
}

// inQuietWorld is inWorld for a test that nothing may run beside.
func inQuietWorld(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, w *world), opts ...cloudsqlconn.Option) {
	t.Helper()
	wantKey(t)
	_ = authtest.Secrets() // outside the bubble: it takes real time
	synctest.Test(t, func(t *testing.T) {
		w := &world{Server: cloudsqltest.NewMemoryServer(), t: t, told: newWitness(t)}
		defer w.Close()
		w.OnRequest = func(*http.Request) *cloudsqltest.Fault {
			f := w.fault.Load()
			if f != nil {
				w.faults.Add(1)
			}
			return f
		}
		if cfg.Backend == "" && cfg.Handler == nil {
			cfg.Handler = cloudsqltest.Echo
		}
		w.instance = w.AddInstance(testInstance, cfg)
		w.dialer = w.newDialer(opts...)
		defer func() { _ = w.dialer.Close() }() // the test may have replaced it
		defer func() {
			w.wantNoSecret(w.told.all())
			w.wantNoSecret(fmt.Sprintf("%+v", w.dialer.Instances()))
		}()
		test(t, w)
	})
}

// wantKey makes the process's key, outside bubbles: it takes real time.
func wantKey(t *testing.T) {
	t.Helper()
	if _, err := admin.ProcessKey(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) newDialer(opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	w.t.Helper()
	d, err := cloudsqlconn.NewDialer(context.Background(), slices.Concat(w.Options(), []cloudsqlconn.Option{w.told.options()}, opts)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// dial connects within the given time and proves that the connection works.
func (w *world) dial(within time.Duration, opts ...cloudsqlconn.DialOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	c, err := w.dialer.Dial(ctx, testInstance, opts...)
	if err == nil {
		defer c.Close()
		err = echo(c)
	}
	if err != nil {
		w.wantNoSecret(fmt.Sprintf("%v %+v %#v", err, err, err))
	}
	return err
}

// wantDial is dial that must succeed, with time to spare.
func (w *world) wantDial(opts ...cloudsqlconn.DialOption) {
	w.t.Helper()
	if err := w.dial(20*time.Second, opts...); err != nil {
		w.t.Fatalf("Dial at %v: %v", time.Now(), err)
	}
}

// wantError is dial that must fail with target, returned as *Error.
func (w *world) wantError(target error, within time.Duration, opts ...cloudsqlconn.DialOption) *cloudsqlconn.Error {
	w.t.Helper()
	err := w.dial(within, opts...)
	if !errors.Is(err, target) {
		w.t.Fatalf("Dial: got error %v, want %v", err, target)
	}
	var e *cloudsqlconn.Error
	if !errors.As(err, &e) {
		w.t.Fatalf("Dial: got error of type %T, want *Error", err)
	}
	return e
}

// wantNoSecret checks that a text that people or programs get to see tells no
// token and no key. F40.
func (w *world) wantNoSecret(text string) {
	w.t.Helper()
	for what, secret := range secrets(w.t, w) {
		if i := strings.Index(text, secret); i >= 0 {
			w.t.Errorf("%s appears in %q", what, text[max(0, i-500):min(len(text), i+500)])
		}
	}
}

// calls is how many Admin API requests there were.
func (w *world) calls() int { return len(w.Requests()) }

// wantCalls checks how many Admin API requests there were in all.
func (w *world) wantCalls(want int) {
	w.t.Helper()
	if got := w.calls(); got != want {
		w.t.Fatalf("got %d Admin API calls, want %d", got, want)
	}
}

// wantFaults checks that the injected fault was met.
func (w *world) wantFaults() {
	w.t.Helper()
	if w.faults.Load() == 0 {
		w.t.Fatal("the fault did not happen")
	}
}

// parallel runs f n times at once and waits.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// echo proves that c reaches an echoing instance.
func echo(c net.Conn) error {
	const text = "hello"
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != text {
		return errors.New("echo returned " + string(b))
	}
	return nil
}

// took runs f and returns how long it took, on fake time.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
