// Package resolve finds the Cloud SQL instance that a domain name stands for.
//
// A [Resolver] looks at TXT records, follows CNAMEs, and asks the SQL Admin
// API about the DNS names that Cloud SQL gives to instances. It asks DNS anew
// each time, so that a changed record counts at once, and falls back on the
// last answer when DNS fails. It knows nothing of what instance connection
// names look like.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
)

// ErrClosed is returned by a closed [Resolver].
var ErrClosed = errors.New("resolve: resolver is closed")

// DNS is what is needed of a *net.Resolver. Its methods are called from many
// goroutines at once, and should return soon after ctx ends.
type DNS interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// Config says what a [Resolver] asks. All fields but Policy are needed.
type Config struct {
	DNS DNS

	// Valid reports whether text is an instance connection name. Nothing is
	// trimmed before.
	Valid func(text string) bool

	// Instance returns the instance connection name for the DNS name of an
	// instance, which has a trailing dot. Its answers are kept for an hour, and
	// looked up again when half of that has passed.
	Instance func(ctx context.Context, region, dnsName string) (string, error)

	// Policy is how Instance is called: the timeout, and what its errors mean
	// for the next call. Nothing is called that nobody waits for: Lazy is true
	// whatever it says.
	Policy refresh.Policy
}

// Answer is what a domain name stands for.
type Answer struct {
	// Instance is an instance connection name.
	Instance string

	// OfCloudSQL reports that it was found by a DNS name of Cloud SQL's own: the
	// one that was asked for, or the one that it is an alias of.
	OfCloudSQL bool

	// Hosts are the IP addresses of the domain name itself, if it has any; the
	// instance can be reached there. They are always empty for the DNS name of
	// an instance, whose addresses the Admin API tells.
	Hosts []string
}

const (
	lookupTimeout = 10 * time.Second       // of one look-up, with all its questions
	maxPatience   = 2 * time.Second        // for a look-up, when there is an answer from before
	hostGrace     = 500 * time.Millisecond // for a look-up of hosts, when all else is there
	instanceLife  = time.Hour              // of what Instance answers

	firstPause = 200 * time.Millisecond // after a temporary failure, doubling
	maxPause   = 3200 * time.Millisecond
	minPause   = 20 * time.Millisecond // with less time than that left, there is no other try
)

// Resolver turns domain names into instance connection names. Its methods are
// safe for concurrent use. It has no goroutine while nobody asks.
type Resolver struct {
	cfg      Config
	absolute bool            // questions have a trailing dot
	ctx      context.Context // ends at Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup // counts look-ups

	mu        sync.Mutex                   // guards everything below; never held over I/O
	domains   table[domain]                // by domain name
	instances table[refresh.Cache[string]] // by the DNS name of the instance
	closed    bool
}

// domain is what is known of a domain name.
type domain struct {
	name     string
	route    lookup[route]
	hosts    lookup[[]string]
	last     Answer    // the last good answer without hosts, the zero one if there was none; guarded by Resolver.mu
	asked    time.Time // when the look-up began that brought it; guarded by Resolver.mu
	lastHost []string  // the last known hosts; guarded by Resolver.mu
}

// New returns a Resolver that has looked up nothing yet.
func New(cfg Config) *Resolver {
	cfg.Policy.Lazy = true
	r := &Resolver{cfg: cfg}
	if system, ok := cfg.DNS.(*net.Resolver); ok {
		// The search list of resolv.conf is for names that people type. It
		// would multiply the questions of every Dial, and could find somebody
		// else's record. An application's own resolver gets the name as it is.
		r.absolute = true
		r.cfg.DNS = interruptible(system)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// interruptible returns a resolver like r, whose look-ups end when their
// context is canceled: those of r notice its deadline only, and would hold up
// Close.
func interruptible(r *net.Resolver) *net.Resolver {
	if r == nil { // as good as a zero one, says package net
		r = new(net.Resolver)
	}
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &net.Resolver{
		PreferGo:     r.PreferGo,
		StrictErrors: r.StrictErrors,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = c.Close() }) // ctx ends with each question
			}
			return c, err
		},
	}
}

// Resolve returns what a domain name stands for, in any letter case and with or
// without a trailing dot. DNS is asked anew; callers that ask for a name at the
// same time share one look-up. If that fails, or takes more than two seconds or
// half of the caller's time, the last good answer is returned. Without one,
// temporary failures are tried again while ctx lasts.
//
// The error is a [*NameError] if text is no domain name, a [*LookupError] if
// DNS leads nowhere, a [*refresh.Failure] with the error of Instance, or
// ErrClosed; when ctx has ended, its error is in it.
func (r *Resolver) Resolve(ctx context.Context, text string) (Answer, error) {
	name, err := normalize(text)
	if err != nil {
		return Answer{}, err
	}
	if ctx.Err() != nil {
		return Answer{}, refresh.ContextError(ctx)
	}
	if region := instanceRegion(name); region != "" {
		instance, err := r.instance(ctx, region, name)
		return Answer{Instance: instance, OfCloudSQL: true}, err
	}
	d, known, err := r.domain(name)
	if err != nil {
		return Answer{}, err
	}
	hosts := start(r, &d.hosts, nil)
	answer, err := r.resolve(ctx, d, known.Instance != "")
	switch {
	case err == nil:
	case known.Instance == "" || errors.Is(err, ErrClosed):
		return Answer{}, err
	case ctx.Err() != nil:
		return Answer{}, fmt.Errorf("%w while waiting for DNS", refresh.ContextError(ctx))
	default:
		answer = known
	}
	answer.Hosts = r.hosts(ctx, d, hosts)
	return answer, nil
}

// resolve looks the domain up until that succeeds, fails for good, or ctx ends;
// if there is an answer from before, once.
func (r *Resolver) resolve(ctx context.Context, d *domain, known bool) (Answer, error) {
	pause := firstPause
	var (
		seen *question[route]
		last error // of seen
	)
	for {
		q := start(r, &d.route, seen)
		answer, err := r.follow(ctx, q, known, last)
		switch {
		case err == nil:
			r.remember(d, q.began, answer)
			return answer, nil
		case known || ctx.Err() != nil || !temporary(err):
			return Answer{}, err
		case !r.sleep(ctx, pause):
			return Answer{}, r.ended(ctx, err)
		}
		seen, last, pause = q, err, min(2*pause, maxPause)
	}
}

// follow waits for a look-up, not for long if there is an answer from before,
// and goes where it leads. last is how the one before has failed, or nil.
func (r *Resolver) follow(ctx context.Context, q *question[route], known bool, last error) (Answer, error) {
	if known {
		short, cancel := within(ctx, patience(ctx, q.began))
		defer cancel()
		ctx = short
	}
	to, err := r.await(ctx, q, last)
	if err != nil || to.instance != "" {
		return Answer{Instance: to.instance}, err
	}
	instance, err := r.instance(ctx, to.region, to.dnsName)
	return Answer{Instance: instance, OfCloudSQL: true}, err
}

// await returns what the look-up brought, or why it was not waited for, with
// what is known by then.
func (r *Resolver) await(ctx context.Context, q *question[route], last error) (route, error) {
	select {
	case <-q.done:
		if q.err != nil {
			return route{}, r.ended(ctx, q.err)
		}
		return q.value, nil
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		if q.told != nil {
			last = q.told
		}
		if last == nil {
			return route{}, fmt.Errorf("%w while waiting for DNS", refresh.ContextError(ctx))
		}
		return route{}, fmt.Errorf("%w while waiting for DNS; last error: %w", refresh.ContextError(ctx), last)
	case <-r.ctx.Done():
		return route{}, ErrClosed
	}
}

// ended returns err, with the reason if there is no time for another try.
func (r *Resolver) ended(ctx context.Context, err error) error {
	switch {
	case r.ctx.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("%w; last error: %w", refresh.ContextError(ctx), err)
	}
	return err
}

// domain returns what is known of a domain name, and the last good answer.
func (r *Resolver) domain(name string) (d *domain, last Answer, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, Answer{}, ErrClosed
	}
	d, _ = r.domains.get(name, time.Now(), func() *domain {
		d := &domain{name: name}
		d.route.ask = func(ctx context.Context, tell func(error)) (route, error) { return r.walk(ctx, name, tell) }
		d.hosts.ask = func(ctx context.Context, _ func(error)) ([]string, error) { return r.lookupHosts(ctx, d) }
		return d
	})
	return d, d.last, nil
}

func (r *Resolver) remember(d *domain, began time.Time, answer Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if began.Before(d.asked) {
		return // somebody else was faster with a later look-up
	}
	d.asked, d.last = began, answer
}

// hosts returns the last known hosts, and waits a little if they are being
// looked up.
func (r *Resolver) hosts(ctx context.Context, d *domain, q *question[[]string]) []string {
	ctx, cancel := within(ctx, hostGrace-time.Since(q.began))
	defer cancel()
	select {
	case <-q.done:
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(d.lastHost)
}

// lookupHosts looks up the hosts of a domain and remembers them. That there are
// none is an answer too; a failure is not.
func (r *Resolver) lookupHosts(ctx context.Context, d *domain) ([]string, error) {
	addrs, err := r.cfg.DNS.LookupHost(ctx, d.name)
	var hosts []string
	for _, addr := range addrs {
		// 0.0.0.0 is how filters say no.
		if ip, parseErr := netip.ParseAddr(addr); parseErr == nil && !ip.IsUnspecified() {
			hosts = append(hosts, addr)
		}
	}
	if len(hosts) == 0 && err != nil && !notFound(err) {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.lastHost = hosts
	return hosts, nil
}

// Close ends every look-up and every Resolve in progress; they return
// ErrClosed. It returns when the look-ups have ended, and can be called again.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	caches := r.instances.forget(slices.Collect(maps.Keys(r.instances.entries)))
	r.mu.Unlock()
	r.cancel()
	for _, c := range caches {
		c.Close()
	}
	r.wg.Wait()
}
