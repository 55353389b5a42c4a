package starved

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

func TestSpansCoverWhatLiesWithin(t *testing.T) {
	t.Parallel()
	s := spans{{10 * ms, 20 * ms}, {30 * ms, 40 * ms}, {100 * ms, 200 * ms}}
	for _, tt := range []struct{ from, to, want time.Duration }{
		{0, 5 * ms, 0},
		{0, 10 * ms, 0},
		{0, 15 * ms, 5 * ms},
		{12 * ms, 15 * ms, 3 * ms},
		{15 * ms, 35 * ms, 10 * ms},
		{20 * ms, 30 * ms, 0},
		{20 * ms, 31 * ms, 1 * ms},
		{0, 300 * ms, 120 * ms},
		{150 * ms, 300 * ms, 50 * ms},
		{200 * ms, 300 * ms, 0},
		{15 * ms, 15 * ms, 0},
		{35 * ms, 15 * ms, 0}, // a call whose context has not ended
	} {
		if got := s.within(tt.from, tt.to); got != tt.want {
			t.Errorf("between %v and %v: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
	if got := spans(nil).within(0, time.Hour); got != 0 {
		t.Errorf("no spans cover %v", got)
	}
}

// A process that is stopped for 80 of every 100 ms has 20 of them, and what the
// first beat after each stop is worth.
func TestBeatsTellWhenAProcessRan(t *testing.T) {
	t.Parallel()
	var s spans
	for _, at := range []time.Duration{5, 10, 16, 25, 100, 105, 110, 200} {
		s = s.beat(at * ms)
	}
	want := spans{{0, 25 * ms}, {95 * ms, 110 * ms}, {195 * ms, 200 * ms}}
	if diff := cmp.Diff(want, s, cmp.AllowUnexported(span{})); diff != "" {
		t.Error(diff)
	}
}
