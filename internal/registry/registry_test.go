package registry_test

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/registry"
)

// entry is idle after an hour.
type entry struct {
	key    string
	closed bool
}

func (e *entry) Idle(asked time.Time) bool { return time.Since(asked) > time.Hour }
func (e *entry) Close()                    { e.closed = true }

func newRegistry() (*registry.Registry[string, *entry], *int) {
	made := 0
	return registry.New(func(key string) *entry {
		made++
		return &entry{key: key}
	}), &made
}

func TestAnEntryIsMadeOnceAndClosedAtTheEnd(t *testing.T) {
	t.Parallel()
	r, made := newRegistry()
	a, ok := r.Get("a")
	if again, _ := r.Get("a"); !ok || again != a || a.key != "a" || *made != 1 {
		t.Fatalf("got %+v and %+v, made %d", a, again, *made)
	}
	if all := r.All(); !slices.Equal(all, []*entry{a}) {
		t.Errorf("there are %v", all)
	}
	for range 2 {
		r.Close()
	}
	if _, ok := r.Get("a"); ok || !a.closed || len(r.All()) != 0 {
		t.Errorf("after Close: got one: %v, closed: %v, there are %d", ok, a.closed, len(r.All()))
	}
}

func TestIdleEntriesAreLetGoWhenThereAreMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, made := newRegistry()
		for i := range 64 {
			_, _ = r.Get(strconv.Itoa(i))
		}
		first := r.All()
		time.Sleep(2 * time.Hour)
		used, _ := r.Get("7")
		_, _ = r.Get("one more")
		synctest.Wait()
		if n := len(r.All()); n != 2 || *made != 65 {
			t.Errorf("there are %d entries, made %d; want 2 and 65", n, *made)
		}
		for _, e := range first {
			if e.closed == (e == used) {
				t.Errorf("%s is closed: %v", e.key, e.closed)
			}
		}
		r.Close()
	})
}
