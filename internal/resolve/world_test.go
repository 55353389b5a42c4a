package resolve_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
)

// world is a Resolver on fake time, with the DNS and the API that it asks.
type world struct {
	t   *testing.T
	dns *cloudsqltest.DNS
	r   *resolve.Resolver
	api *api
}

// api answers for the DNS names of instances.
type api struct {
	mu    sync.Mutex // guards everything below
	names map[string]string
	err   error
	hangs bool
	delay time.Duration
	calls []string // region and DNS name
}

func (a *api) instance(ctx context.Context, region, dnsName string) (string, error) {
	a.mu.Lock()
	a.calls = append(a.calls, region+" "+dnsName)
	name, err, hangs, delay := a.names[dnsName], a.err, a.hangs, a.delay
	a.mu.Unlock()
	time.Sleep(delay) // on fake time
	if hangs {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if err == nil && name == "" {
		err = errMissing
	}
	return name, err
}

func (a *api) set(change func(*api)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

func (a *api) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

var (
	errMissing = &judged{"404 no such instance", refresh.Verdict{Terminal: true}}
	errDenied  = &judged{"403 not permitted", refresh.Verdict{Terminal: true}}
	errQuota   = &judged{"429 quota", refresh.Verdict{RetryAfter: 5 * time.Second}}
	errDown    = &judged{"503 unavailable", refresh.Verdict{}}
)

// judged is an error that knows its own verdict.
type judged struct {
	text    string
	verdict refresh.Verdict
}

func (e *judged) Error() string { return e.text }

func judge(err error) refresh.Verdict {
	if j, ok := errors.AsType[*judged](err); ok {
		return j.verdict
	}
	return refresh.Verdict{}
}

const (
	domain   = "db.example.com"
	one      = "my-project:europe-west1:one"
	two      = "my-project:europe-west1:two"
	endpoint = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog"
)

// valid is a simple form of instance connection names.
func valid(text string) bool {
	return strings.Count(text, ":") == 2 && !strings.ContainsAny(text, " \n")
}

// tell plays a story in a bubble.
func tell(t *testing.T, story func(*testing.T, *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dns := cloudsqltest.NewDNS()
		w := newWorld(t, dns, dns)
		defer w.r.Close()
		story(t, w)
	})
}

// newWorld returns a Resolver that asks asked, which has the records of dns.
func newWorld(t *testing.T, dns *cloudsqltest.DNS, asked resolve.DNS) *world {
	w := &world{t: t, dns: dns, api: &api{names: map[string]string{endpoint + ".": one}}}
	w.r = resolve.New(resolve.Config{DNS: asked, Valid: valid, Instance: w.api.instance, Policy: refresh.Policy{Judge: judge}})
	return w
}

// call is a Resolve in progress.
type call struct {
	w    *world
	done chan struct{} // closed when it has returned
	a    resolve.Answer
	err  error
	took time.Duration
}

// start starts a Resolve that has so much time; zero means without end.
func (w *world) start(name string, timeout time.Duration) *call {
	c := &call{w: w, done: make(chan struct{})}
	began := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), timeout)
	}
	go func() {
		defer close(c.done)
		defer cancel()
		c.a, c.err = w.r.Resolve(ctx, name)
		c.took = time.Since(began)
	}()
	synctest.Wait()
	return c
}

// want waits for the call and wants this answer, at so much time or a little
// later.
func (c *call) want(took time.Duration, instance string, hosts ...string) {
	c.w.t.Helper()
	<-c.done
	if c.err != nil || c.a.Instance != instance || !slices.Equal(c.a.Hosts, hosts) {
		c.w.t.Errorf("after %v: %+v, %v; want %s at %q", c.took, c.a, c.err, instance, hosts)
	}
	c.wantTook(took)
}

// wantErr waits for the call and returns its error.
func (c *call) wantErr(took time.Duration, targets ...error) error {
	c.w.t.Helper()
	<-c.done
	if c.err == nil {
		c.w.t.Fatalf("after %v: %+v, want an error", c.took, c.a)
	}
	for _, target := range targets {
		if !errors.Is(c.err, target) {
			c.w.t.Errorf("after %v: %v, want %v", c.took, c.err, target)
		}
	}
	c.wantTook(took)
	return c.err
}

func (c *call) wantTook(want time.Duration) {
	c.w.t.Helper()
	if c.took < want || c.took > want+want/10 {
		c.w.t.Errorf("it took %v, want %v", c.took, want)
	}
}

// want wants a Resolve of the domain to return this at once.
func (w *world) want(instance string, hosts ...string) {
	w.t.Helper()
	w.start(domain, time.Minute).want(0, instance, hosts...)
}

// wantHits wants a fault to have happened so often.
func (w *world) wantHits(f *cloudsqltest.DNSFault, n int) {
	w.t.Helper()
	if got := w.dns.Hits(f); got != n {
		w.t.Errorf("the fault has happened %d times, want %d", got, n)
	}
}

func (w *world) wantCalls(n int) {
	w.t.Helper()
	if got := w.api.count(); got != n {
		w.t.Errorf("%d API calls, want %d", got, n)
	}
}

// lookupError returns the error as one, and wants its text to have these parts,
// in this order.
func lookupError(t *testing.T, err error, parts ...string) *resolve.LookupError {
	t.Helper()
	e, ok := errors.AsType[*resolve.LookupError](err)
	if !ok {
		t.Fatalf("%v is no LookupError", err)
	}
	rest := e.Error()
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Errorf("the error is %q, want %q in it", e, parts)
			break
		}
		rest = after
	}
	return e
}
