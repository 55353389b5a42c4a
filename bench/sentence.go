package bench

import (
	"fmt"
	"math"
	"strings"
)

// compared says what a ratio to another subject comes to, by its interval: where
// that has 1 in it, nothing is claimed.
func compared(s spread, to string) string {
	to = figureOf(to)
	percent := 100 * math.Abs(s.median-1)
	format := "%.0f"
	if percent < 9.5 {
		format = "%.1f"
	}
	amount := fmt.Sprintf(format, percent)
	switch {
	case s.low <= 1 && s.high >= 1:
		return notMeasurably + to
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
	var differs, same []string
	for _, other := range others {
		if s := ratioTo(other); s.low <= 1 && s.high >= 1 {
			same = append(same, figureOf(other))
		} else {
			differs = append(differs, compared(s, other))
		}
	}
	if len(same) > 0 {
		differs = append(differs, notMeasurably+strings.Join(same, " or "))
	}
	return fmt.Sprintf("%s is %s.", what, strings.Join(differs, " and "))
}

const notMeasurably = "not measurably different from "

// figureOf is what our figure is compared with.
func figureOf(name string) string {
	switch name {
	case authProxyName:
		return "the Auth Proxy's"
	case floorName:
		return "the floor's"
	}
	return name
}

// sentences are those about wall time and client CPU.
func sentences(costs map[string][]cost, others ...string) string {
	return sentence("Our wall time", costs, wallOf, others...) + " " + sentence("Our client CPU", costs, cpuOf, others...)
}

// capital is text as it begins a sentence.
func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
