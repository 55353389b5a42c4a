package hedge

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errNoWay  = errors.New("no route")
	errLost   = errors.New("connection reset")
	errBusy   = errors.New("out of order")
	errDenied = errors.New("denied")
)

// answer is what a call does: it ends after that time, with that error.
type answer struct {
	after time.Duration
	err   error
	deaf  bool // does not hear that its context ends
}

var silence = answer{after: 1000 * time.Hour}

// story is a Hedger, and the calls that were made by it.
type story struct {
	t *testing.T
	Hedger

	mu     sync.Mutex      // guards everything below
	began  []time.Duration // of each call, since its Run
	second []bool
	ended  []error // why the context of each call that has ended did; nil: it did not
	flying int
	most   int // in flight at once
	hedges int
}

// tell plays a story on fake time.
func tell(t *testing.T, play func(s *story)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { play(&story{t: t}) })
}

// run makes a call that is answered like this, the first and those after it.
// It returns which call has answered, beginning with 1.
func (s *story) run(within time.Duration, answers ...answer) (n int, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	start := time.Now()
	s.mu.Lock()
	s.began, s.second, s.ended = nil, nil, nil
	s.mu.Unlock()
	n, err = Run(ctx, &s.Hedger, Call[int]{
		Do: func(ctx context.Context, second bool) (int, error) {
			s.mu.Lock()
			s.began, s.second = append(s.began, time.Since(start)), append(s.second, second)
			n, a := len(s.began), answers[min(len(s.began), len(answers))-1]
			s.flying++
			s.most = max(s.most, s.flying)
			s.mu.Unlock()
			defer func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.flying--
				s.ended = append(s.ended, ctx.Err())
			}()
			end := ctx.Done()
			if a.deaf {
				end = nil
			}
			select {
			case <-time.After(a.after):
				return n, a.err
			case <-end:
				return n, ctx.Err()
			}
		},
		Weigh: func(err error) Weight {
			switch err {
			case errDenied:
				return Final
			case errBusy:
				return Passing
			}
			return Unanswered
		},
		Hedged: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.hedges++
		},
	})
	took = time.Since(start)
	synctest.Wait()
	return n, took, err
}

// calls checks when calls began.
func (s *story) calls(want ...time.Duration) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := fmt.Sprint(s.began); got != fmt.Sprint(want) {
		s.t.Errorf("calls began at %v, want %v", got, want)
	}
	if s.most > 2 {
		s.t.Errorf("%d in flight", s.most)
	}
}

// teach makes so many calls that take so long.
func (s *story) teach(n int, took time.Duration) {
	for range n {
		_, _, _ = s.run(time.Hour, answer{after: took})
	}
}

const ms = time.Millisecond

func TestACallThatIsAnsweredInTimeIsMadeOnce(t *testing.T) {
	tell(t, func(s *story) {
		for _, a := range []answer{{}, {after: 1499 * ms}, {after: ms, err: errDenied}, {after: ms, err: errLost}} {
			if n, took, err := s.run(time.Minute, a); n != 1 || took != a.after || !errors.Is(err, a.err) {
				t.Errorf("%+v: call %d answered after %v, %v", a, n, took, err)
			}
			s.calls(0)
		}
	})
}

func TestTheFirstAnswerOfTwoIsTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []answer
		n       int
		took    time.Duration
		err     error
	}{
		"the hedge's, of a call that hangs":     {[]answer{silence, {after: 100 * ms}}, 2, 1600 * ms, nil},
		"the first's, which was slow":           {[]answer{{after: 2 * time.Second}, silence}, 1, 2 * time.Second, nil},
		"a refusal":                             {[]answer{silence, {after: 100 * ms, err: errDenied}}, 2, 1600 * ms, errDenied},
		"the first's, after the hedge has none": {[]answer{{after: 1800 * ms}, {after: 100 * ms, err: errLost}}, 1, 1800 * ms, nil},
		"the hedge's, after the first has none": {[]answer{{after: 1600 * ms, err: errLost}, {after: 300 * ms}}, 2, 1800 * ms, nil},
		"of two failures, the first":            {[]answer{{after: 1700 * ms, err: errLost}, {after: 100 * ms, err: errNoWay}}, 2, 1700 * ms, errNoWay},
		"of two failures, the one with more":    {[]answer{{after: 1600 * ms, err: errLost}, {after: 300 * ms, err: errBusy}}, 2, 1800 * ms, errBusy},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				n, took, err := s.run(time.Minute, tt.answers...)
				if n != tt.n || took != tt.took || !errors.Is(err, tt.err) {
					t.Errorf("call %d answered after %v, %v, want %d after %v, %v", n, took, err, tt.n, tt.took, tt.err)
				}
				s.calls(0, 1500*ms)
				if s.second[0] || !s.second[1] || s.hedges != 1 {
					t.Errorf("second: %v, %d hedges", s.second, s.hedges)
				}
				if s.flying != 0 {
					t.Errorf("%d calls go on", s.flying)
				}
			})
		})
	}
}

// The way of the hedges is closed: the first has all its time, and company again
// as long as that lasts.
func TestAFailedHedgeIsRepeatedMoreAndMoreSeldom(t *testing.T) {
	tell(t, func(s *story) {
		n, took, err := s.run(20*time.Second, answer{after: 19 * time.Second}, answer{err: errLost})
		if n != 1 || took != 19*time.Second || err != nil {
			t.Errorf("call %d answered after %v, %v", n, took, err)
		}
		s.calls(0, 1500*ms, 4500*ms, 10500*ms)
		for i, second := range s.second {
			if second != (i > 0) {
				t.Errorf("second: %v", s.second)
			}
		}
	})
}

func TestAFailedFirstIsRepeatedBesideAHedgeThatHangs(t *testing.T) {
	tell(t, func(s *story) {
		n, took, err := s.run(20*time.Second, answer{after: 1600 * ms, err: errBusy}, silence, answer{after: 100 * ms})
		if n != 3 || took != 4700*ms || err != nil {
			t.Errorf("call %d answered after %v, %v", n, took, err)
		}
		s.calls(0, 1500*ms, 4600*ms)
		if s.second[2] {
			t.Error("both go the same way")
		}
	})
}

func TestTheEndOfTheContextEndsAll(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []answer
		took    time.Duration
		want    error
	}{
		"silence":                      {[]answer{silence}, 5 * time.Second, context.DeadlineExceeded},
		"what was known says more":     {[]answer{silence, {after: 100 * ms, err: errBusy}, silence}, 5 * time.Second, errBusy},
		"calls that do not hear of it": {[]answer{{after: 7 * time.Second, deaf: true}}, 5*time.Second + grace, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				if _, took, err := s.run(5*time.Second, tt.answers...); took != tt.took || !errors.Is(err, tt.want) {
					t.Errorf("%v after %v", err, took)
				}
				if s.flying > 0 != tt.answers[0].deaf {
					t.Errorf("%d calls go on", s.flying)
				}
				began := time.Now()
				s.Wait()
				if took := time.Since(began); took > grace {
					t.Errorf("Wait took %v", took)
				}
				time.Sleep(7 * time.Second) // deaf ones end now
				s.Wait()
				if s.flying != 0 || s.Hedger.flying != 0 {
					t.Errorf("%d calls left", s.flying)
				}
			})
		})
	}
}

func TestTheDelayFollowsWhatCallsTake(t *testing.T) {
	for _, tt := range []struct {
		calls      int
		took, want time.Duration
	}{
		{7, 100 * ms, 1500 * ms}, // too few to know
		{8, 100 * ms, 500 * ms},
		{8, 400 * ms, 800 * ms},
		{8, 3 * time.Second, 6 * time.Second},
		{100, 3 * time.Second, 6 * time.Second},
		{8, 12 * time.Second, 10 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.calls, " of ", tt.took), func(t *testing.T) {
			tell(t, func(s *story) {
				s.teach(tt.calls, tt.took)
				_, _, _ = s.run(time.Minute, silence, answer{})
				s.calls(0, tt.want)
			})
		})
	}
}

func TestOneSlowCallTeachesNothing(t *testing.T) {
	tell(t, func(s *story) {
		s.teach(20, 200*ms)
		s.teach(1, 450*ms)
		_, _, _ = s.run(time.Minute, silence, answer{})
		s.calls(0, 500*ms)
	})
}

// A server that has become slow for everybody gets twice its load only until
// that is known.
func TestASlowServerIsNotDoubledForEver(t *testing.T) {
	tell(t, func(s *story) {
		s.teach(100, 100*ms)
		s.hedges = 0
		s.teach(100, 3*time.Second)
		if s.hedges < 2 || s.hedges > 3 {
			t.Errorf("%d hedges of 100 calls", s.hedges)
		}
		s.teach(14, 100*ms)
		_, _, _ = s.run(time.Minute, silence, answer{})
		s.calls(0, 6*time.Second)
		s.teach(2, 100*ms)
		_, _, _ = s.run(time.Minute, silence, answer{})
		s.calls(0, 500*ms)
	})
}

func TestHedgesInFlightAreFew(t *testing.T) {
	tell(t, func(s *story) {
		var mu sync.Mutex
		hedges, most, all := 0, 0, 0
		began := time.Now()
		call := func() {
			_, err := Run(s.t.Context(), &s.Hedger, Call[int]{
				Do: func(ctx context.Context, second bool) (int, error) {
					if !second {
						<-ctx.Done()
						return 0, ctx.Err()
					}
					mu.Lock()
					hedges++
					all++
					most = max(most, hedges)
					mu.Unlock()
					time.Sleep(100 * ms)
					mu.Lock()
					defer mu.Unlock()
					hedges--
					return 0, nil
				},
				Weigh:  func(error) Weight { return Unanswered },
				Hedged: func() {},
			})
			if err != nil {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(call)
		}
		wg.Wait()
		if most != maxHedges || all != 32 {
			t.Errorf("%d hedges, %d at once", all, most)
		}
		if took := time.Since(began); took != 1500*ms+32/maxHedges*100*ms {
			t.Errorf("took %v", took)
		}
	})
}

func TestAServerThatWantsToBeLeftAloneGetsNoHedges(t *testing.T) {
	tell(t, func(s *story) {
		s.Quiet(10 * time.Second)
		s.Quiet(time.Second) // does not shorten it
		n, took, err := s.run(time.Minute, silence, answer{after: 100 * ms})
		if n != 2 || took != 10100*ms || err != nil {
			t.Errorf("call %d answered after %v, %v", n, took, err)
		}
		s.calls(0, 10*time.Second)
		_, _, _ = s.run(time.Minute, silence, answer{})
		s.calls(0, 1500*ms)
	})
}

// As t.FailNow does in the transport of a user's test.
func TestACallThatEndsItsGoroutineIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), new(Hedger), Call[int]{
		Do:     func(context.Context, bool) (int, error) { runtime.Goexit(); return 0, nil },
		Weigh:  func(error) Weight { return Final },
		Hedged: func() {},
	})
	if !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
}

// The usual case: an answer comes at once.
func BenchmarkRun(b *testing.B) {
	var h Hedger
	c := Call[int]{
		Do:     func(context.Context, bool) (int, error) { return 1, nil },
		Weigh:  func(error) Weight { return Final },
		Hedged: func() {},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Run(b.Context(), &h, c); err != nil {
			b.Fatal(err)
		}
	}
}
