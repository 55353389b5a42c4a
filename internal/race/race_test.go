package race_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/race"
)

const (
	stagger = 250 * time.Millisecond
	never   = time.Hour
	use     = 100 * time.Millisecond // until it is found that a connection is of no use
)

var errRefused = errors.New("refused")

// host is how a host answers.
type host struct {
	after time.Duration
	err   error
}

// hosts note when each is tried, and the connections to them.
type hosts struct {
	answers map[string]host
	began   time.Time

	mu    sync.Mutex // guards everything below
	tried []string   // host and time
	conns map[string]*conn
}

// conn is a connection that can be closed.
type conn struct {
	net.Conn
	closed chan struct{}
}

func (c *conn) Close() error {
	close(c.closed)
	return nil
}

func (c *conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

func newHosts(answers map[string]host) *hosts {
	return &hosts{answers: answers, began: time.Now(), conns: map[string]*conn{}}
}

func (h *hosts) open(ctx context.Context, name string) (net.Conn, error) {
	h.mu.Lock()
	h.tried = append(h.tried, fmt.Sprint(name, " ", time.Since(h.began)))
	h.mu.Unlock()
	answer := h.answers[name]
	select {
	case <-time.After(answer.after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if answer.err != nil {
		return nil, answer.err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[name] = &conn{closed: make(chan struct{})}
	return h.conns[name], nil
}

// story tells how a race went, each try with its time.
func story(r *race.Race, good func(string) bool) (lines []string) {
	began := time.Now()
	for t, more := r.Next(); more; t, more = r.Next() {
		what := "connected"
		if t.Err != nil {
			what = t.Err.Error()
		}
		if t.Silent {
			what += ", silent"
		}
		if t.Cut {
			what += ", cut"
		}
		lines = append(lines, fmt.Sprintf("%v %s: %s", time.Since(began), t.Host, what))
		if t.Err == nil && good(t.Host) {
			for _, host := range r.Unanswered() {
				lines = append(lines, host+" has not answered")
			}
			return lines
		}
		if t.Err == nil {
			time.Sleep(use)
		}
	}
	return lines
}

func TestRaces(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		hosts    []string
		answers  map[string]host
		time     time.Duration
		deferred int    // so many of hosts, at their end
		bad      string // hosts that are of no use
		tried    []string
		story    []string
	}{
		{
			name: "one host has all the time there is", hosts: []string{"a"}, time: time.Minute,
			answers: map[string]host{"a": {after: 50 * time.Second}},
			tried:   []string{"a 0s"},
			story:   []string{"50s a: connected"},
		},
		{
			name: "the first answers", hosts: []string{"a", "b"}, time: time.Minute,
			tried: []string{"a 0s"},
			story: []string{"0s a: connected"},
		},
		{
			name: "the next follows a failure at once", hosts: []string{"a", "b", "c"}, time: time.Minute,
			answers: map[string]host{"a": {err: errRefused}, "b": {err: errRefused}},
			tried:   []string{"a 0s", "b 0s", "c 0s"},
			story:   []string{"0s a: refused", "0s b: refused", "0s c: connected"},
		},
		{
			name: "and silence after a moment", hosts: []string{"a", "b", "c"}, time: time.Minute,
			answers: map[string]host{"a": {after: never}, "b": {after: never}},
			tried:   []string{"a 0s", "b 250ms", "c 500ms"},
			story:   []string{"500ms c: connected", "a has not answered", "b has not answered"},
		},
		{
			name: "a late answer counts", hosts: []string{"a", "b"}, time: time.Minute,
			answers: map[string]host{"a": {after: 300 * time.Millisecond}, "b": {after: never}},
			tried:   []string{"a 0s", "b 250ms"},
			story:   []string{"300ms a: connected"},
		},
		{
			name: "little time is shared", hosts: []string{"a", "b", "c"}, time: 100 * time.Millisecond,
			answers: map[string]host{"a": {after: never}, "b": {after: never}},
			tried:   []string{"a 0s", "b 25ms", "c 50ms"},
			story:   []string{"50ms c: connected", "a has not answered", "b has not answered"},
		},
		{
			name: "a connection of no use is followed at once", hosts: []string{"a", "b"}, time: time.Minute, bad: "a",
			tried: []string{"a 0s", "b 100ms"},
			story: []string{"0s a: connected", "100ms b: connected"},
		},
		{
			name: "one that stands already comes first", hosts: []string{"a", "b", "c"}, time: time.Minute, bad: "ab",
			answers: map[string]host{"a": {after: 300 * time.Millisecond}, "b": {after: 100 * time.Millisecond}}, // while a is being used
			tried:   []string{"a 0s", "b 250ms", "c 500ms"},
			story:   []string{"300ms a: connected", "400ms b: connected", "500ms c: connected"},
		},
		{
			name: "who has been silent before is not waited for beside a failure", hosts: []string{"b", "a"}, deferred: 1, time: time.Minute,
			answers: map[string]host{"a": {after: never}, "b": {err: errRefused}},
			tried:   []string{"b 0s", "a 0s"},
			story:   []string{"0s b: refused", "5s a: no answer in this address's share of the time, silent, cut"},
		},
		{
			name: "nor are several", hosts: []string{"b", "a", "c"}, deferred: 2, time: time.Minute,
			answers: map[string]host{"a": {after: never}, "c": {after: never}, "b": {err: errRefused}},
			tried:   []string{"b 0s", "a 0s", "c 250ms"},
			story:   []string{"0s b: refused", "5.25s a: no answer in this address's share of the time, silent, cut", "5.25s c: no answer in this address's share of the time, silent, cut"},
		},
		{
			name: "others have all the time there is", hosts: []string{"b", "a"}, time: time.Minute,
			answers: map[string]host{"a": {after: 50 * time.Second}, "b": {err: errRefused}},
			tried:   []string{"b 0s", "a 0s"},
			story:   []string{"0s b: refused", "50s a: connected"},
		},
		{
			name: "silence alone does not end", hosts: []string{"a", "b"}, time: time.Minute,
			answers: map[string]host{"a": {after: never}, "b": {after: 50 * time.Second}},
			tried:   []string{"a 0s", "b 250ms"},
			story:   []string{"50.25s b: connected", "a has not answered"},
		},
		{
			name: "time is up", hosts: []string{"a", "b"}, time: time.Second,
			answers: map[string]host{"a": {after: never}, "b": {after: never}},
			tried:   []string{"a 0s", "b 250ms"},
			story:   []string{"1s a: context deadline exceeded, silent", "1s b: context deadline exceeded, silent"},
		},
		{
			name: "too little time finds out nothing", hosts: []string{"a"}, time: 10 * time.Millisecond,
			answers: map[string]host{"a": {after: never}},
			tried:   []string{"a 0s"},
			story:   []string{"10ms a: context deadline exceeded"},
		},
	} {
		for _, prompt := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, prompt: %v", tt.name, prompt), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), tt.time)
					defer cancel()
					h := newHosts(tt.answers)
					r := race.New(ctx, tt.hosts, len(tt.hosts)-tt.deferred, h.open)
					r.Prompt = prompt
					got := story(r, func(host string) bool { return !strings.Contains(tt.bad, host) })
					r.Stop()
					slices.Sort(got) // some end at the same time
					slices.Sort(tt.story)
					if !slices.Equal(got, tt.story) {
						t.Errorf("the race went\n%q, want\n%q", got, tt.story)
					}
					if !slices.Equal(h.tried, tt.tried) {
						t.Errorf("tried %q, want %q", h.tried, tt.tried)
					}
				})
			})
		}
	}
}

// What was not taken is closed, whether it stands at Stop or comes later, and
// Stop waits for neither.
func TestStopClosesWhatWasNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(map[string]host{"first": {after: 3 * stagger}, "second": {after: 2 * stagger}, "later": {after: time.Second}})
		deaf := func(_ context.Context, host string) (net.Conn, error) { return h.open(context.Background(), host) }
		r := race.New(t.Context(), []string{"first", "second", "later"}, 3, deaf)
		taken := ""
		for taken == "" {
			synctest.Wait()
			try, more := r.Next()
			if !more {
				t.Fatal("there is no connection")
			}
			taken = try.Host
		}
		synctest.Wait()
		began := time.Now()
		r.Stop()
		if d := time.Since(began); d > 0 {
			t.Errorf("Stop took %v", d)
		}
		time.Sleep(2 * time.Second)
		h.mu.Lock()
		defer h.mu.Unlock()
		for host, c := range h.conns {
			if c.isClosed() == (host == taken) {
				t.Errorf("%s was taken, and the connection to %s is closed: %v", taken, host, c.isClosed())
			}
		}
		if len(h.conns) != 3 {
			t.Errorf("%d connections, want 3", len(h.conns))
		}
	})
}

// There is something to tell also if time was up before the first.
func TestARaceThatComesTooLate(t *testing.T) {
	t.Parallel()
	for _, prompt := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			h := newHosts(map[string]host{"a": {after: never}, "b": {after: never}})
			r := race.New(ctx, []string{"a", "b"}, 2, h.open)
			r.Prompt = prompt
			got := story(r, func(string) bool { return true })
			r.Stop()
			if want := []string{"0s a: context canceled"}; !slices.Equal(got, want) {
				t.Errorf("prompt: %v: %q, want %q", prompt, got, want)
			}
		})
	}
}

// A leader that was overtaken is tried again if the other is of no use.
func TestWhoWasOvertakenGetsAnotherChance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(map[string]host{"slow": {after: time.Second}})
		r := race.New(t.Context(), []string{"slow", "astray"}, 2, h.open)
		r.Prompt = true
		got := story(r, func(host string) bool { return host == "slow" })
		r.Stop()
		if want := []string{"250ms astray: connected", "1.35s slow: connected"}; !slices.Equal(got, want) {
			t.Errorf("the race went\n%q, want\n%q", got, want)
		}
		if want := []string{"slow 0s", "astray 250ms", "slow 350ms"}; !slices.Equal(h.tried, want) {
			t.Errorf("tried %q, want %q", h.tried, want)
		}
	})
}

// An Open that does not look at its context holds up the race for a moment only,
// once time is up.
func TestWhoIgnoresTheContextIsAbandoned(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"a"}, {"a", "b", "c"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r := race.New(ctx, names, len(names), func(context.Context, string) (net.Conn, error) {
				time.Sleep(time.Minute)
				return nil, errRefused
			})
			began := time.Now()
			got := story(r, func(string) bool { return true })
			r.Stop()
			if d := time.Since(began); len(got) != len(names) || d > 1020*time.Millisecond {
				t.Errorf("after %v: %q", d, got)
			}
			time.Sleep(time.Minute)
		})
	}
}

// A step that hangs is ended if there is somebody else.
func TestAStepHasItsShareOfTheTime(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"a", "b"}, {"a"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			h := newHosts(nil)
			r := race.New(ctx, names, len(names), h.open)
			defer r.Stop()
			try, _ := r.Next()
			began := time.Now()
			try = r.Use(try, func(ctx context.Context, t race.Try) (net.Conn, error) {
				select {
				case <-t.Conn.(*conn).closed:
					return nil, net.ErrClosed
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			})
			alone := len(names) == 1
			if d := time.Since(began); d != map[bool]time.Duration{true: 20 * time.Second, false: race.MaxShare}[alone] || try.Cut == alone || !try.Silent {
				t.Errorf("%v: %+v after %v", names, try, d)
			}
			if _, more := r.Next(); more == alone {
				t.Errorf("%v: there is another try: %v", names, more)
			}
		})
	}
}
