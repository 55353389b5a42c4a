package cooldown_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/cooldown"
)

var errBusy = errors.New("busy")

// left is how long the pause lasts.
func left(c *cooldown.Cooldown) time.Duration {
	until, _ := c.Until()
	if until.IsZero() {
		return 0
	}
	return time.Until(until)
}

func wantLeft(t *testing.T, c *cooldown.Cooldown, least, most time.Duration) {
	t.Helper()
	if got := left(c); got < least || got > most {
		t.Errorf("%v left, want %v to %v", got, least, most)
	}
}

func TestABurstIsOneStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c cooldown.Cooldown
		wantLeft(t, &c, 0, 0)
		began := time.Now()
		time.Sleep(time.Second)
		c.Refused(began, 0, errBusy)
		wantLeft(t, &c, 5*time.Second, 8100*time.Millisecond)
		until, why := c.Until()
		if !errors.Is(why, errBusy) {
			t.Errorf("got %v", why)
		}
		for range 20 {
			c.Refused(began, 0, errBusy)
			c.Refused(time.Now(), 0, errBusy) // of what was open already
		}
		if again, _ := c.Until(); !again.Equal(until) {
			t.Errorf("the pause ends at %v, and then at %v", until, again)
		}
		time.Sleep(10 * time.Second)
		c.Refused(began, 0, errBusy) // late, but of the same burst
		wantLeft(t, &c, 0, 0)

		c.Refused(time.Now(), 0, errBusy)
		wantLeft(t, &c, 8*time.Second, 13100*time.Millisecond)
		for range 30 {
			time.Sleep(2 * time.Minute)
			c.Refused(time.Now(), 0, errBusy)
		}
		wantLeft(t, &c, time.Minute, time.Minute)
	})
}

func TestOnlyASuccessAfterThePauseEndsTheSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c cooldown.Cooldown
		c.Refused(time.Now(), 0, errBusy)
		c.Good(time.Now().Add(-time.Second)) // of the same burst
		wantLeft(t, &c, 5*time.Second, 8100*time.Millisecond)
		time.Sleep(10 * time.Second)
		c.Refused(time.Now(), 0, errBusy)
		wantLeft(t, &c, 8*time.Second, 13100*time.Millisecond)
		time.Sleep(20 * time.Second)
		c.Good(time.Now())
		time.Sleep(time.Second)
		c.Refused(time.Now(), 0, errBusy)
		wantLeft(t, &c, 5*time.Second, 8100*time.Millisecond)
	})
}

func TestTheServiceMayAskForMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c cooldown.Cooldown
		c.Refused(time.Now(), 42*time.Second, errBusy)
		wantLeft(t, &c, 42*time.Second, 42*time.Second)
		c.Refused(time.Now(), 50*time.Second, errBusy)
		c.Refused(time.Now(), time.Second, errBusy)
		wantLeft(t, &c, 50*time.Second, 50*time.Second)
		c.Refused(time.Now(), 24*time.Hour, errBusy)
		wantLeft(t, &c, 10*time.Minute, 10*time.Minute)
	})
}
