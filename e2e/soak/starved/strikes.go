//go:build linux

package starved

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

const (
	strikeEvery = 500 * time.Millisecond

	// calmFor is how long an instance is left alone when a fault is over and
	// settled: then Dials have to succeed.
	calmFor = 12 * time.Second

	// What a Dialer has to find out a fault, once it is over. The longest
	// context comes first: until it has ended, a silent address may be slow.
	// Then comes what it takes to get new metadata.
	settleNow  = time.Second
	settleMove = 4 * time.Second
	settleAPI  = 8 * time.Second // when the API does not answer at once, too
)

// strike is a kind of fault. do returns when it is over, ctx ends then the
// soonest.
type strike struct {
	kind   string
	settle time.Duration
	way    bool // there is a way to the instance all the time
	do     func(*striker, context.Context, *target)
}

var strikes = []strike{
	{kind: "moved, old addresses refuse", settle: settleMove, do: func(s *striker, _ context.Context, t *target) { s.move(t, false) }},
	{kind: "moved, old addresses swallow SYNs", settle: settleMove, do: func(s *striker, _ context.Context, t *target) { s.move(t, true) }},
	{kind: "moved, old addresses swallow SYNs, API call hangs", settle: settleAPI, do: func(s *striker, _ context.Context, t *target) {
		s.failAPI(t, cloudsqltest.Fault{Hang: true}, 1)
		s.move(t, true)
	}},
	{kind: "client CA rotated", settle: settleMove, do: func(_ *striker, _ context.Context, t *target) { t.RotateClientCA() }},
	{kind: "client CA rotated, API call hangs", settle: settleAPI, do: func(s *striker, _ context.Context, t *target) {
		s.failAPI(t, cloudsqltest.Fault{Hang: true}, 1)
		t.RotateClientCA()
	}},
	{kind: "client CA rotated, API answers 503 twice", settle: settleAPI, do: func(s *striker, _ context.Context, t *target) {
		s.failAPI(t, cloudsqltest.Fault{Status: http.StatusServiceUnavailable}, 2)
		t.RotateClientCA()
	}},
	{kind: "server CA rotated", settle: settleMove, do: func(_ *striker, _ context.Context, t *target) { t.RotateServerCA() }},
	{kind: "stopped and started", settle: settleNow, do: func(_ *striker, ctx context.Context, t *target) {
		t.Stop()
		defer t.Start()
		wait(ctx, time.Second)
	}},
	{kind: "silent", settle: settleMove, do: func(_ *striker, ctx context.Context, t *target) {
		t.SetBehavior(cloudsqltest.Silent)
		defer t.SetBehavior(cloudsqltest.Healthy)
		wait(ctx, 2*time.Second)
	}},
	{kind: "all addresses swallow SYNs", settle: settleMove, do: func(s *striker, ctx context.Context, t *target) {
		s.swallow(ctx, hostsOf(t.EmulatedInstance))
	}},
	{kind: "public address swallows SYNs, private is good", way: true, do: func(s *striker, ctx context.Context, t *target) {
		s.swallow(ctx, []string{t.Addrs()[cloudsqlconn.PublicIP]})
	}},
	{kind: "connections cut", do: func(_ *striker, _ context.Context, t *target) { t.CutConnections(false) }},
	{kind: "connections reset", do: func(_ *striker, _ context.Context, t *target) { t.CutConnections(true) }},
	{kind: "open connections hang", way: true, do: func(_ *striker, ctx context.Context, t *target) {
		t.gate.mu.Lock()
		defer t.gate.mu.Unlock()
		wait(ctx, 3*time.Second)
	}},
}

// restart is of databases alone, and a third of what happens to them.
var restart = strike{kind: "database restarts", settle: settleNow, do: func(s *striker, _ context.Context, t *target) {
	if err := t.database.Restart(context.Background()); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err
	}
}}

// striker makes things go wrong.
type striker struct {
	servers *servers
	wg      sync.WaitGroup // counts faults that last
	moves   int

	mu      sync.Mutex // guards everything below
	faults  []fault    // that are over
	counts  map[string]int
	calls   []apiCall
	err     error                            // of a database that has not come back
	pending map[string][]*cloudsqltest.Fault // of the next API calls about an instance, by its ID
}

func newStriker(s *servers) *striker {
	k := &striker{servers: s, counts: map[string]int{}, pending: map[string][]*cloudsqltest.Fault{}}
	s.kit.OnRequest = k.onRequest
	return k
}

// run causes faults until ctx ends, and waits until they are over.
func (s *striker) run(ctx context.Context) {
	defer s.wg.Wait()
	for ctx.Err() == nil {
		wait(ctx, strikeEvery)
		rested := slices.DeleteFunc(slices.Clone(s.servers.targets), func(t *target) bool { return now() < s.calm(t) })
		if len(rested) == 0 {
			continue
		}
		s.strike(ctx, rested[rand.IntN(len(rested))])
	}
}

func (s *striker) calm(t *target) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.calm
}

// strike hits an instance.
func (s *striker) strike(ctx context.Context, t *target) {
	one := strikes[rand.IntN(len(strikes))]
	if t.database != nil && rand.IntN(3) == 0 {
		one = restart
	}
	from := now()
	s.mu.Lock()
	s.counts[one.kind]++
	t.calm = from + time.Hour // until it is over
	s.mu.Unlock()
	s.wg.Go(func() {
		one.do(s, ctx, t)
		over := now()
		s.mu.Lock()
		defer s.mu.Unlock()
		t.calm = over + one.settle + calmFor
		s.faults = append(s.faults, fault{t.Name(), one.kind, from, over, one.settle, one.way})
	})
}

// wait waits for so long, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// move gives an instance new addresses.
func (s *striker) move(t *target, swallow bool) {
	s.mu.Lock()
	s.moves++
	a, b := s.moves/250, s.moves%250+1
	s.mu.Unlock()
	old := hostsOf(t.EmulatedInstance)
	t.SetAddrs(map[cloudsqlconn.IPType]string{
		cloudsqlconn.PublicIP:  fmt.Sprintf("127.8.%d.%d", a, b),
		cloudsqlconn.PrivateIP: fmt.Sprintf("127.9.%d.%d", a, b),
	})
	for _, host := range old {
		s.servers.network.swallow(host, swallow)
	}
}

// swallow makes hosts swallow SYNs for a while.
func (s *striker) swallow(ctx context.Context, hosts []string) {
	for _, host := range hosts {
		s.servers.network.swallow(host, true)
		defer s.servers.network.swallow(host, false)
	}
	wait(ctx, 2*time.Second)
}

// failAPI makes the next calls about an instance fail.
func (s *striker) failAPI(t *target, f cloudsqltest.Fault, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[t.id] = slices.Repeat([]*cloudsqltest.Fault{&f}, times)
}

func (s *striker) onRequest(r *http.Request) *cloudsqltest.Fault {
	_, id, _ := strings.Cut(r.URL.Path, "/instances/")
	if end := strings.IndexAny(id, "/:"); end >= 0 {
		id = id[:end]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := apiCall{id: id, at: now(), what: path.Base(r.URL.Path)}
	list := s.pending[id]
	if len(list) > 0 {
		s.pending[id] = list[1:]
		s.counts["- API calls that met their fault"]++
		one.what += " (meets a fault)"
	}
	s.calls = append(s.calls, one)
	if len(list) == 0 {
		return nil
	}
	return list[0]
}
