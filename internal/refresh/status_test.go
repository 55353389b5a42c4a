package refresh

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestHistoryTellsHowEachFetchEnded(t *testing.T) {
	tellBoth(t, func(t *testing.T, w *world) {
		if h := w.c.History(); len(h) != 0 {
			t.Errorf("before any fetch: %v", h)
		}
		first := time.Now().Round(0)
		c := w.get(time.Minute)
		if s := w.c.Status(); !s.Fetching || len(w.c.History()) != 0 {
			t.Errorf("while it is under way: %+v, %v", s, w.c.History())
		}
		v := c.want(1, latency)
		if s := w.c.Status(); s.Fetching || !s.Expiry.Equal(first.Add(latency+time.Hour)) {
			t.Errorf("after it: %+v", s)
		}
		w.answers(denied)
		second := time.Now().Round(0)
		w.c.Refresh(v)
		time.Sleep(time.Second)
		want := []Attempt{{Began: first, Duration: latency}, {Began: second, Duration: latency, Forced: true, Err: "permission denied"}}
		got := w.c.History()
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	tell(t, Policy{Lazy: true}, func(t *testing.T, w *world) {
		w.answers(answer{after: latency, err: errors.New(strings.Repeat("é", 300_000))})
		w.get(time.Hour)
		time.Sleep(30 * time.Minute)
		for w.c.Status().Fetching { // it is not in the history yet
			time.Sleep(latency)
		}
		h := w.c.History()
		if n := len(w.fetches()); n <= 16 || len(h) != 16 {
			t.Fatalf("%d fetches, of which %d are remembered", n, len(h))
		}
		began := w.fetches()
		for i, a := range h {
			if len(a.Err) > 510 || !strings.HasPrefix(a.Err, "éé") || !a.Began.Equal(began[len(began)-16+i]) {
				t.Errorf("attempt %d: %+v", i, a)
			}
		}
		h[0].Err = "overwritten"
		if w.c.History()[0].Err == h[0].Err {
			t.Error("callers share the history")
		}
		w.answers(hourly)
		time.Sleep(time.Minute)
		if last := w.c.History()[15]; last.Err != "" {
			t.Errorf("the last is %+v", last)
		}
	})
}

func TestAValueForEverHasNoExpiry(t *testing.T) {
	tell(t, Policy{}, func(t *testing.T, w *world) {
		w.answers(answer{after: latency})
		w.get(time.Minute).want(1, latency)
		if s := w.c.Status(); !s.Expiry.IsZero() {
			t.Errorf("got %v", s.Expiry)
		}
	})
}
