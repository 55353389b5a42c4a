package main

import (
	"math"
	"time"
)

// marks are when things happened to one client in one scenario: since the fault,
// or since the making of the client if nothing was dialled before.
type marks struct {
	Calls  []millis // at which the Admin API was called
	Failed []span   // Dials, in the order in which they ended
	Worked []span   // Dials, in the same order
	Over   millis   `json:",omitzero"` // when the fault ended by itself; 0: it did not
}

// millis is a time in milliseconds, to a tenth.
type millis float64

// span is when something began and when it ended.
type span [2]millis

func (m millis) duration() time.Duration {
	return time.Duration(float64(m) * float64(time.Millisecond))
}

// served returns when the first Dial that worked had ended.
func (m marks) served() (at millis, ok bool) {
	if len(m.Worked) == 0 {
		return 0, false
	}
	return m.Worked[0][1], true
}

// attempt is a Dial.
type attempt struct {
	began, ended time.Time
	worked       bool
}

// note keeps when a Dial was.
func (w *world) note(a attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = append(w.dials, a)
}

// marks returns what has happened between the beginning of the measurement and
// its end.
func (w *world) marks() (m marks) {
	since := func(t time.Time) millis {
		return millis(math.Round(float64(t.Sub(w.zero))/float64(time.Millisecond)*10) / 10)
	}
	for _, r := range w.kit.Requests()[w.before : w.before+w.result.Calls] {
		m.Calls = append(m.Calls, since(r.Time))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.dials {
		s := span{since(a.began), since(a.ended)}
		if a.worked {
			m.Worked = append(m.Worked, s)
		} else {
			m.Failed = append(m.Failed, s)
		}
	}
	if !w.over.IsZero() {
		m.Over = since(w.over)
	}
	return m
}
