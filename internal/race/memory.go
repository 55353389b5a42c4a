package race

import (
	"maps"
	"sync"
	"time"
)

// Rest is how long a host that does not answer comes last. Source: RFC 8305,
// section 4, on what a client remembers.
const Rest = 10 * time.Minute

// Memory remembers for a while which hosts are to be tried last, since they have
// led nowhere. Its zero value remembers nothing. Its methods are safe for
// concurrent use.
type Memory struct {
	mu   sync.Mutex           // guards last
	last map[string]time.Time // until when a host comes last
}

// Order returns hosts in their order, but those last that have been deferred, and
// how many have not.
func (m *Memory) Order(hosts []string) (ordered []string, fresh int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.last) == 0 || len(hosts) < 2 {
		return hosts, len(hosts)
	}
	now := time.Now()
	good, bad := make([]string, 0, len(hosts)), []string(nil)
	for _, host := range hosts {
		if now.Before(m.last[host]) {
			bad = append(bad, host)
		} else {
			good = append(good, host)
		}
	}
	return append(good, bad...), len(good)
}

// Defer makes hosts come last for a while.
func (m *Memory) Defer(period time.Duration, hosts ...string) {
	if len(hosts) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.last = map[string]time.Time{}
	}
	now := time.Now()
	maps.DeleteFunc(m.last, func(_ string, until time.Time) bool { return !now.Before(until) })
	until := now.Add(period)
	for _, host := range hosts {
		m.last[host] = until
	}
}

// Good is told that a host has led to the server.
func (m *Memory) Good(host string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.last, host)
}

// Forget forgets everything.
func (m *Memory) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.last)
}
