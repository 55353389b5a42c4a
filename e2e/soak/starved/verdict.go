package starved

import (
	"fmt"
	"strings"
	"time"
)

// grace is how much running time a call has to return after its context has
// ended.
const grace = 250 * time.Millisecond

// enough is the running time that a Dial needs, of the client's process and of
// the servers', to be blamed for its own context's end. A handshake takes a
// hundredth of it; the second of two addresses is tried within half of it.
const enough = 500 * time.Millisecond

// settled is how much running time must have passed after a fault, beside the
// fault's own settle, until Dials have to succeed again.
const settled = time.Second

// fault is a trouble of one instance.
type fault struct {
	Instance, Kind string
	From, To       time.Duration
	Settle         time.Duration // what the Dialer then has to find out about it
	Way            bool          // there was a way to it all the time
}

// apiCall is a call of the Admin API about an instance.
type apiCall struct {
	id   string
	at   time.Duration
	what string
}

// failure is a Dial that failed.
type failure struct {
	Instance string
	From, To time.Duration
	Patience time.Duration
	Ended    bool // its context had
	Err      string
}

func (f failure) String() string {
	how := "failed"
	if f.Ended {
		how = "had its context end"
	}
	return fmt.Sprintf("Dial of %s, with %v, %s after %v: %s", f.Instance, f.Patience.Round(time.Millisecond), how, (f.To - f.From).Round(time.Millisecond), f.Err)
}

// witness is what is known about a run.
type witness struct {
	began          time.Duration
	faults         []fault // in the order of their ends
	calls          []apiCall
	client, server spans // when the processes ran
}

// accuse returns why a Dial should not have failed, or "": it had time, and no
// fault stood in its way.
func (w *witness) accuse(f failure) string {
	clientRan, serverRan := w.client.within(f.From, f.To), w.server.within(f.From, f.To)
	if f.Ended && min(clientRan, serverRan) < enough {
		return ""
	}
	for _, one := range w.faults {
		if !one.Way && one.Instance == f.Instance && one.From <= f.To && !w.over(one, f.From) {
			return ""
		}
	}
	return fmt.Sprintf("it had %v of running time, the servers %v; %s", clientRan.Round(time.Millisecond), serverRan.Round(time.Millisecond), w.lastFault(f)) + w.lastCalls(f)
}

// lastCalls tells the last API calls about the instance before a Dial's end.
func (w *witness) lastCalls(f failure) string {
	const most = 4
	var last []string
	for _, c := range w.calls {
		if strings.HasSuffix(f.Instance, ":"+c.id) && c.at <= f.To {
			last = append(last, fmt.Sprintf("%v %s", (c.at-w.began).Round(time.Millisecond), c.what))
		}
	}
	return fmt.Sprintf("; API calls until it failed: %d, the last ones %v", len(last), last[max(0, len(last)-most):])
}

// lastFault tells which fault the instance had before a Dial, and when.
func (w *witness) lastFault(f failure) string {
	last := "there was no fault before it"
	for _, one := range w.faults {
		if one.Instance == f.Instance && one.To <= f.From {
			last = fmt.Sprintf("the last fault, %q, was over at %v", one.Kind, (one.To - w.began).Round(time.Millisecond))
		}
	}
	return last
}

// over reports whether a fault was at an end at a moment, and the Dialer had
// the time to notice.
func (w *witness) over(one fault, at time.Duration) bool {
	return at-one.To >= one.Settle && min(w.client.within(one.To, at), w.server.within(one.To, at)) >= settled
}
