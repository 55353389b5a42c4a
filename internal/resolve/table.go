package resolve

import (
	"maps"
	"slices"
	"sort"
	"time"
)

const (
	sweepSize = 64               // so many names may be there before any is forgotten
	maxNames  = 4096             // so many are there at most
	keepIdle  = 15 * time.Minute // a name is kept after it was last asked for
)

// table holds what is known of each name. Its zero value is empty.
type table[V any] struct {
	entries map[string]*entry[V]
	sweepAt int // the size at which to look for names that nobody asks for
}

type entry[V any] struct {
	value *V
	asked time.Time
}

// get returns what is known of a name, made at the first time, and what has
// been forgotten to make room for it.
func (t *table[V]) get(name string, now time.Time, make func() *V) (v *V, dropped []*V) {
	e := t.entries[name]
	if e == nil {
		dropped = t.sweep(now)
		e = &entry[V]{value: make()}
		t.entries[name] = e
	}
	e.asked = now
	return e.value, dropped
}

// sweep forgets names that nobody has asked for in a while, and a quarter of
// them if there are too many others.
func (t *table[V]) sweep(now time.Time) (dropped []*V) {
	if t.entries == nil {
		t.entries, t.sweepAt = map[string]*entry[V]{}, sweepSize
	}
	if len(t.entries) < t.sweepAt {
		return nil
	}
	names := slices.SortedFunc(maps.Keys(t.entries), func(a, b string) int { return t.entries[a].asked.Compare(t.entries[b].asked) })
	n := sort.Search(len(names), func(i int) bool { return now.Sub(t.entries[names[i]].asked) <= keepIdle })
	if len(names)-n >= maxNames {
		n = len(names) / 4
	}
	dropped = t.forget(names[:n])
	t.sweepAt = min(max(sweepSize, 2*len(t.entries)), maxNames)
	return dropped
}

// forget returns what was known of the names.
func (t *table[V]) forget(names []string) (dropped []*V) {
	for _, name := range names {
		dropped = append(dropped, t.entries[name].value)
		delete(t.entries, name)
	}
	return dropped
}
