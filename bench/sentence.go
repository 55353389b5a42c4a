package bench

import (
	"fmt"
	"math"
	"strings"
)

// compared says what a ratio to another subject comes to, by its interval: where
// that has 1 in it, nothing is claimed.
func compared(s spread, to string) string {
	if to == authProxyName {
		to = "the Auth Proxy's"
	}
	percent := 100 * math.Abs(s.median-1)
	format := "%.0f"
	if percent < 9.5 {
		format = "%.1f"
	}
	amount := fmt.Sprintf(format, percent)
	switch {
	case s.low <= 1 && s.high >= 1:
		return "not measurably different from " + to
	case s.median < 0.5 || s.median >= 2:
		return fmt.Sprintf("%.2f × %s", s.median, to)
	case s.median < 1:
		return amount + " % less than " + to
	}
	return amount + " % more than " + to
}

// sentence says how one of our figures compares with those of others.
func sentence(what string, costs map[string][]cost, pick func(cost) float64, others ...string) string {
	return sentenceOf(what, func(other string) spread {
		return confidence(ratios(costs[oursName], costs[other], pick))
	}, others...)
}

func sentenceOf(what string, ratioTo func(other string) spread, others ...string) string {
	var list []string
	for _, other := range others {
		list = append(list, compared(ratioTo(other), other))
	}
	return fmt.Sprintf("%s is %s.", what, strings.Join(list, " and "))
}

// sentences are those about wall time and client CPU.
func sentences(costs map[string][]cost, others ...string) string {
	return sentence("Our wall time", costs, wallOf, others...) + " " + sentence("Our client CPU", costs, cpuOf, others...)
}
