package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// chaos makes things go wrong.
type chaos struct {
	server    *cloudsqltest.Server
	rest      time.Duration // an instance that was hit is left alone for so long
	instances []*cloudsqltest.EmulatedInstance
	lastHit   map[*cloudsqltest.EmulatedInstance]time.Time
	lastAddr  int

	mu      sync.Mutex // guards everything below
	counts  map[string]int
	pending []*cloudsqltest.Fault // of the next Admin API requests
}

func newChaos(s *cloudsqltest.Server, rest time.Duration) *chaos {
	c := &chaos{server: s, rest: rest, lastHit: map[*cloudsqltest.EmulatedInstance]time.Time{}, counts: map[string]int{}}
	s.OnRequest = c.onRequest
	return c
}

func (c *chaos) add(p *cloudsqltest.EmulatedInstance) { c.instances = append(c.instances, p) }

func (c *chaos) onRequest(*http.Request) *cloudsqltest.Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 {
		return nil
	}
	f := c.pending[0]
	c.pending = c.pending[1:]
	return f
}

// retryAfter is how long the API wants to be left alone after a 429.
const retryAfter = time.Second

// apiFaults are passing troubles of the Admin API. Lasting ones, such as 403,
// fail a Dial rightly.
var apiFaults = map[string]cloudsqltest.Fault{
	"API 503":              {Status: 503},
	"API 502 with HTML":    {Status: 502, Body: "<html>Bad Gateway</html>"},
	"API 429":              {Status: 429, Header: http.Header{"Retry-After": {fmt.Sprint(retryAfter.Seconds())}}},
	"API slow":             {Delay: 500 * time.Millisecond},
	"API hangs":            {Hang: true},
	"API reset":            {ResetAt: cloudsqltest.AtStart},
	"API reset in headers": {ResetAt: cloudsqltest.InHeaders},
	"API reset in body":    {ResetAt: cloudsqltest.InBody},
	"API EOF":              {CutAt: cloudsqltest.AtStart},
	"API EOF in body":      {CutAt: cloudsqltest.InBody},
}

// run causes a fault every so often until ctx ends, and calls each after every
// one of them.
func (c *chaos) run(ctx context.Context, every time.Duration, each func()) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.strike()
			each()
		case <-ctx.Done():
			return
		}
	}
}

func (c *chaos) strike() {
	if rand.IntN(3) == 0 {
		c.strikeAPI()
		return
	}
	rested := slices.DeleteFunc(slices.Clone(c.instances), func(p *cloudsqltest.EmulatedInstance) bool {
		return time.Since(c.lastHit[p]) < c.rest
	})
	if len(rested) == 0 {
		return
	}
	p := rested[rand.IntN(len(rested))]
	c.lastHit[p] = time.Now()
	c.strikeInstance(p)
}

func (c *chaos) strikeAPI() {
	kinds := slices.Sorted(maps.Keys(apiFaults))
	kind := kinds[rand.IntN(len(kinds))]
	f := apiFaults[kind]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[kind]++
	for range 1 + rand.IntN(4) {
		c.pending = append(c.pending, &f)
	}
}

func (c *chaos) strikeInstance(p *cloudsqltest.EmulatedInstance) {
	switch rand.IntN(9) {
	case 0, 1:
		c.count("server CA rotated")
		p.RotateServerCA()
	case 2, 3:
		c.count("client CA rotated")
		p.RotateClientCA()
	case 4:
		c.count("moved, old address refuses")
		c.move(p, false)
	case 5:
		c.count("moved, old address swallows SYNs")
		c.move(p, true)
	case 6:
		c.count("connections cut")
		p.CutConnections(false)
	case 7:
		c.count("connections reset")
		p.CutConnections(true)
	case 8:
		c.count("certificates live 20 s")
		p.SetCertTTL(20 * time.Second)
	}
}

// move gives an instance a new address.
func (c *chaos) move(p *cloudsqltest.EmulatedInstance, swallow bool) {
	old := p.Addrs()[cloudsqlconn.PublicIP]
	c.lastAddr++
	p.SetAddrs(map[cloudsqlconn.IPType]string{
		cloudsqlconn.PublicIP: fmt.Sprintf("127.8.%d.%d", c.lastAddr/250, c.lastAddr%250+1),
	})
	if swallow {
		c.server.Swallow(old)
	}
}

func (c *chaos) count(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[kind]++
}

func (c *chaos) print(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	printCounts(w, c.counts)
}

func printCounts(w io.Writer, counts map[string]int) {
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(w, "%7d  %s\n", counts[k], k)
	}
}
