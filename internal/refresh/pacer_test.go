package refresh

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A thousand values that were fetched together are not fetched together again,
// and none of them expires for that.
func TestBackgroundFetchesAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		var (
			pacer Pacer
			mu    sync.Mutex
			began []time.Time
			wg    sync.WaitGroup
		)
		caches := make([]*Cache[int], n)
		for i := range caches {
			caches[i] = New(Policy{Pacer: &pacer}, func(context.Context) (*int, time.Time, error) {
				mu.Lock()
				defer mu.Unlock()
				began = append(began, time.Now())
				return new(int), time.Now().Add(time.Hour), nil
			})
			defer caches[i].Close()
			wg.Go(func() { _, _ = caches[i].Get(t.Context()) })
		}
		wg.Wait()
		mu.Lock()
		began = nil
		mu.Unlock()

		for range 3 * 60 {
			time.Sleep(time.Minute)
			for _, c := range caches {
				if !c.Status().Expiry.After(time.Now().Add(maxMargin)) {
					t.Fatalf("a value was left until %v", c.Status().Expiry)
				}
				_, _ = c.Get(t.Context()) // or it would be let go
			}
		}
		mu.Lock()
		defer mu.Unlock()
		slices.SortFunc(began, time.Time.Compare)
		if len(began) < 3*n {
			t.Errorf("%d fetches in three hours", len(began))
		}
		close := 0 // those that a Get started, after the first hour
		for i, at := range began[1:] {
			if at.Sub(began[i]) < pace {
				close++
			}
		}
		if close > len(began)/10 {
			t.Errorf("%d of %d fetches came less than %v after another", close, len(began), pace)
		}
	})
}

func TestAFetchDoesNotWaitForItsTurnUntilTheValueExpires(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var p Pacer
	for i, want := range []time.Duration{0, pace, 2 * pace, 0, 3 * pace} {
		most := time.Hour
		if i == 3 {
			most = pace // has no time to wait
		}
		if got := p.reserve(now, most); got != want {
			t.Errorf("fetch %d waits %v, want %v", i, got, want)
		}
	}
	if got := p.reserve(now.Add(time.Minute), 0); got != 0 {
		t.Errorf("later, a fetch waits %v", got)
	}
	if got := (*Pacer)(nil).reserve(now, time.Hour); got != 0 {
		t.Errorf("without a Pacer, a fetch waits %v", got)
	}
}
