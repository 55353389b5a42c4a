package hint

import (
	"fmt"
	"math"
	"time"
)

// What a clock is compared with.
const (
	TheAPI         = "the Admin API's"
	TheTokenServer = "the clock of the server that issues access tokens"
)

// Clock says that this machine's clock is off, "" if it is about right.
func Clock(offset time.Duration, reference string) string {
	if offset.Abs() <= time.Minute {
		return ""
	}
	return fmt.Sprintf("This machine's clock is %s %s %s: set it, on Linux with `timedatectl set-ntp true`.", Span(offset.Abs()), side(offset), reference)
}

// CompareClocks says in a few words that this machine's clock is about right, or in an
// error by how much it is off.
func CompareClocks(offset time.Duration, reference string) (string, error) {
	if Clock(offset, reference) == "" {
		return "within a minute of " + reference, nil
	}
	return "", fmt.Errorf("this machine's clock is %s %s %s", Span(offset.Abs()), side(offset), reference)
}

func side(offset time.Duration) string {
	if offset < 0 {
		return "behind"
	}
	return "ahead of"
}

// Span is a duration in the unit that fits it.
func Span(d time.Duration) string {
	units := func(unit time.Duration, name string) string {
		n := int(math.Round(float64(d) / float64(unit)))
		if n == 1 {
			return "1 " + name
		}
		return fmt.Sprintf("%d %ss", n, name)
	}
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return units(day, "day")
	case d >= 2*time.Hour:
		return units(time.Hour, "hour")
	}
	return units(time.Minute, "minute")
}
