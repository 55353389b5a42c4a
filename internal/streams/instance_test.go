package streams

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A Dial whose context ended within a fraction of a microsecond of the cooldown
// panicked: the time that was left had been computed twice. On fake time none
// passes in between.
func TestAContextThatEndsWithTheCooldownDoesNoHarm(t *testing.T) {
	t.Parallel()
	busy := errors.New("busy")
	for i := range 20_000 {
		var inst Instance
		inst.cooldown.Refused(time.Now(), 0, busy)
		until, _ := inst.cooldown.Until()
		ctx, cancel := context.WithDeadline(context.Background(), until.Add(time.Duration(i%500)))
		cancel() // nothing is waited for
		if err := inst.coolDown(ctx); !errors.Is(err, busy) {
			t.Fatalf("got %v", err)
		}
	}
}
