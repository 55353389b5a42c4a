package relogin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server is what one logs in to.
type server struct {
	t      *testing.T
	logins *Logins

	mu     sync.Mutex // guards everything below
	expiry time.Time  // of the token that one logs in with now
	seen   []string
	told   int
	err    error // of a login
	hang   bool  // until its context ends
	hung   int   // that have ended
}

// inServer runs a test on fake time. The first token expires in an hour.
func inServer(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{t: t, expiry: time.Now().Add(time.Hour)}
		s.logins = New(t.Context(), Config{
			Expiry: func(context.Context) (time.Time, error) { return s.token(), nil },
			Told: func(context.Context, string, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.told++
			},
		})
		defer s.logins.Close()
		test(t, s)
	})
}

func (s *server) token() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry
}

// refresh gets a token that expires then.
func (s *server) refresh(expiry time.Time) {
	s.mu.Lock()
	s.expiry = expiry
	s.mu.Unlock()
	s.logins.Refreshed(expiry)
}

// add adds a login.
func (s *server) add(as string) *Login {
	return s.logins.Add(as, "", s.token(), func(ctx context.Context) (time.Time, bool, error) {
		s.mu.Lock()
		s.seen = append(s.seen, as)
		hang, err := s.hang, s.err
		s.mu.Unlock()
		if hang {
			<-ctx.Done()
			err = ctx.Err()
			s.mu.Lock()
			s.hung++
			s.mu.Unlock()
		}
		return s.token(), true, err
	})
}

// want checks how many logins were repeated since the last call.
func (s *server) want(n int) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) != n || s.told < n {
		s.t.Errorf("at %v: %d logins, %d of them told; want %d", time.Now(), len(s.seen), s.told, n)
	}
	s.seen, s.told = nil, 0
}

func TestALoginIsRepeatedBeforeTheTokenExpiresThatTheServerHasSeen(t *testing.T) {
	inServer(t, func(_ *testing.T, s *server) {
		s.add("me")
		s.refresh(time.Now().Add(90 * time.Minute)) // not before it is time
		time.Sleep(time.Hour - lead - spread)
		s.want(0)
		time.Sleep(spread)
		s.want(1)
		time.Sleep(30*time.Minute - spread)
		s.want(0) // since there is no newer token
		s.refresh(time.Now().Add(time.Hour))
		time.Sleep(lead)
		s.want(1)
	})
}

// A token can come after a login has looked for one, and before that has ended.
func TestATokenThatComesWhileALoginLooksForItIsNotMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old := time.Now().Add(time.Hour)
		var ls *Logins
		var looks, logins atomic.Int64
		ls = New(t.Context(), Config{
			Expiry: func(context.Context) (time.Time, error) {
				if looks.Add(1) == 1 {
					ls.Refreshed(old.Add(time.Hour))
					return old, nil
				}
				return old.Add(time.Hour), nil
			},
			Told: func(context.Context, string, error) {},
		})
		defer ls.Close()
		ls.Add("me", "", old, func(context.Context) (time.Time, bool, error) {
			logins.Add(1)
			return old.Add(time.Hour), true, nil
		})
		time.Sleep(time.Hour - late)
		synctest.Wait()
		if looks.Load() < 2 || logins.Load() != 1 {
			t.Errorf("%d looks for a token, %d logins; want 2 and 1", looks.Load(), logins.Load())
		}
	})
}

// When the clock is set back, a new token expires before the old one.
func TestATokenIsNewAfterTheClockWasSetBack(t *testing.T) {
	inServer(t, func(_ *testing.T, s *server) {
		s.add("me")
		s.refresh(time.Now().Add(40 * time.Minute))
		time.Sleep(time.Hour - lead)
		s.want(1)
	})
}

func TestWhatIsLeftIsWhatTheFasterClockSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for name, l := range map[string]*Login{
			"the machine has slept": {told: now.Add(time.Minute).Round(0), ends: now.Add(time.Hour)},
			"the clock is set back": {told: now.Add(time.Hour).Round(0), ends: now.Add(time.Minute)},
		} {
			if left := l.leftLocked(); left != time.Minute {
				t.Errorf("%s: %v left, want a minute", name, left)
			}
		}
	})
}

// A machine has slept, and the timer is late: the refresh that follows has the login
// repeated at once, but not twice.
func TestALoginThatIsLateIsRepeatedAtTheNextRefresh(t *testing.T) {
	inServer(t, func(_ *testing.T, s *server) {
		l := s.add("me")
		s.logins.mu.Lock()
		l.told = time.Now().Add(-time.Hour).Round(0) // is what the wall clock says then
		s.logins.mu.Unlock()
		s.refresh(time.Now().Add(2 * time.Hour))
		s.want(1)
		time.Sleep(time.Hour)
		s.want(0)
	})
}

func TestCloseEndsWhatIsUnderWayAndWhatWaits(t *testing.T) {
	inServer(t, func(t *testing.T, s *server) {
		s.hang = true
		for i := range 2 * atOnce {
			s.add(fmt.Sprint(i))
		}
		s.refresh(time.Now().Add(2 * time.Hour))
		time.Sleep(time.Hour - lead)
		for { // until each is under way or waits for a slot
			s.logins.mu.Lock()
			running := 0
			for _, l := range s.logins.all {
				if l.running {
					running++
				}
			}
			s.logins.mu.Unlock()
			if running > atOnce {
				break
			}
			s.logins.Refreshed(time.Now().Add(3 * time.Hour))
			time.Sleep(time.Second)
		}
		start := time.Now()
		s.logins.Close()
		s.mu.Lock()
		if len(s.seen) < atOnce || s.hung != len(s.seen) || time.Since(start) > 0 {
			t.Errorf("%d logins had begun, %d of them had ended, when Close returned after %v", len(s.seen), s.hung, time.Since(start))
		}
		s.seen = nil
		s.mu.Unlock()
		if s.add("late") != nil {
			t.Error("a login was added after Close")
		}
		time.Sleep(24 * time.Hour)
		s.want(0)
	})
}

// The one that is forgotten for another one may be under way.
func TestALoginThatIsForgottenWhileItRunsIsNotRepeatedAgain(t *testing.T) {
	inServer(t, func(t *testing.T, s *server) {
		s.err = errors.New("no")
		l := s.add("first")
		l.Closed()
		s.hang = true
		s.refresh(time.Now().Add(2 * time.Hour))
		for !s.running(l) {
			time.Sleep(time.Second)
		}
		for i := range most {
			s.add(fmt.Sprint(i))
		}
		time.Sleep(timeout)
		s.mu.Lock()
		if s.hung != 1 {
			t.Errorf("%d logins have ended, want the first", s.hung)
		}
		s.hang, s.err = false, nil
		s.mu.Unlock()
		s.want(1)
		s.refresh(time.Now().Add(5 * time.Hour))
		time.Sleep(3 * time.Hour)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.seen) == 0 {
			t.Error("the others are not repeated")
		}
		for _, as := range s.seen {
			if as == "first" {
				t.Error("it was repeated again")
			}
		}
	})
}

func (s *server) running(l *Login) bool {
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	return l.running
}
