package cloudsqldebug

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// view is what is shown. Its JSON is the documented form of the page.
type view struct {
	Time      time.Time  `json:"time"`
	Instances []instance `json:"instances"`
}

type instance struct {
	Name            string              `json:"name"`
	IAMAuthN        bool                `json:"iamAuthN"`
	State           state               `json:"state"`
	Refreshing      bool                `json:"refreshing"`
	DatabaseVersion string              `json:"databaseVersion,omitempty"`
	Addrs           map[string][]string `json:"addrs,omitempty"`
	LastRefresh     *moment             `json:"lastRefresh,omitempty"`
	Expiry          *moment             `json:"expiry,omitempty"`            // of what is served
	Certificate     *moment             `json:"certificateExpiry,omitempty"` // of the certificate alone
	LifeLeft        float64             `json:"lifeLeft"`                    // from 0 to 1
	LastError       string              `json:"lastError,omitempty"`
	LastHint        string              `json:"lastHint,omitempty"` // what to do about it
	FailedAttempts  int                 `json:"failedAttempts"`
	SQLDataUnserved *moment             `json:"sqlDataUnserved,omitempty"` // until when addresses are used at once
	SQLDataCooldown *moment             `json:"sqlDataCooldown,omitempty"` // until when it is left alone
	OpenConnections int64               `json:"openConnections"`
	BytesRead       int64               `json:"bytesRead"`
	BytesWritten    int64               `json:"bytesWritten"`
	History         []attempt           `json:"history"` // the latest first
}

type attempt struct {
	Time    moment  `json:"time"`
	Seconds float64 `json:"seconds"`
	Forced  bool    `json:"forced"`
	Hedges  int     `json:"hedges"` // calls made a second time, as they were not answered
	Error   string  `json:"error,omitempty"`
}

// state is how an instance fares.
type state string

const (
	ready   state = "ready"   // there is a certificate, and the last refresh was good
	failing state = "failing" // there is a certificate, but the last refresh failed
	down    state = "down"    // there is none that can be used, and the last refresh failed
	expired state = "expired" // there is none any more, since nobody asks
	empty   state = "new"     // there has been no refresh
)

// Note says what a state means.
func (s state) Note() string {
	switch s {
	case ready:
		return "the certificate is good"
	case failing:
		return "the certificate is good, but it could not be renewed"
	case down:
		return "there is no good certificate, and none can be had"
	case expired:
		return "the certificate has expired; the next Dial gets another"
	}
	return "nothing has been fetched yet"
}

// moment is a time, and how far it is from that of the view.
type moment struct {
	at  time.Time
	now time.Time
}

// MarshalJSON gives the time alone.
func (m moment) MarshalJSON() ([]byte, error) { return []byte(`"` + m.UTC() + `"`), nil }

// UTC is the time in RFC 3339.
func (m moment) UTC() string { return m.at.UTC().Format(time.RFC3339) }

// Relative is the time as seen from that of the view.
func (m moment) Relative() string {
	d := m.at.Sub(m.now)
	switch {
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return span(-d) + " ago"
	}
	return "in " + span(d)
}

// span is a duration in its two greatest units.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	s := int64(d / time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", s)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	}
	return fmt.Sprintf("%d days", s/86400)
}

func newView(all []cloudsqlconn.InstanceStatus, now time.Time) view {
	now = now.Round(0)
	v := view{Time: now.UTC().Truncate(time.Second), Instances: []instance{}}
	for _, s := range all {
		v.Instances = append(v.Instances, newInstance(s, now))
	}
	return v
}

func newInstance(s cloudsqlconn.InstanceStatus, now time.Time) instance {
	i := instance{
		Name:            s.Name.String(),
		IAMAuthN:        s.IAMAuthN,
		State:           stateOf(s, now),
		Refreshing:      s.Refreshing,
		DatabaseVersion: s.DatabaseVersion,
		LastRefresh:     at(s.LastRefresh, now),
		Expiry:          at(s.Expiry, now),
		Certificate:     at(s.CertificateExpiry, now),
		LifeLeft:        lifeLeft(s.LastRefresh, s.Expiry, now),
		FailedAttempts:  s.Attempts,
		SQLDataUnserved: at(s.SQLDataUnserved, now),
		SQLDataCooldown: at(s.SQLDataCooldown, now),
		OpenConnections: s.OpenConnections,
		BytesRead:       s.BytesRead,
		BytesWritten:    s.BytesWritten,
		History:         []attempt{},
	}
	for t, hosts := range s.Addrs {
		if i.Addrs == nil {
			i.Addrs = map[string][]string{}
		}
		i.Addrs[t.String()] = hosts
	}
	if s.LastError != nil {
		i.LastError, i.LastHint = s.LastError.Error(), cloudsqlconn.Hint(s.LastError)
	}
	for _, a := range slices.Backward(s.History) {
		i.History = append(i.History, attempt{Time: moment{a.Time, now}, Seconds: a.Duration.Seconds(), Forced: a.Forced, Hedges: a.Hedges, Error: a.Error})
	}
	return i
}

func stateOf(s cloudsqlconn.InstanceStatus, now time.Time) state {
	good := !s.LastRefresh.IsZero() && (s.Expiry.IsZero() || now.Before(s.Expiry))
	switch {
	case good && s.LastError != nil:
		return failing
	case good:
		return ready
	case s.LastError != nil:
		return down
	case !s.LastRefresh.IsZero():
		return expired
	}
	return empty
}

// at returns t for the view, nil for the zero time.
func at(t, now time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	return &moment{t, now}
}

// lifeLeft is the part of a life that is still to come.
func lifeLeft(from, until, now time.Time) float64 {
	switch {
	case from.IsZero():
		return 0
	case until.IsZero():
		return 1
	case !from.Before(until):
		return 0
	}
	return min(max(float64(until.Sub(now))/float64(until.Sub(from)), 0), 1)
}

// Percent is LifeLeft for people.
func (i instance) Percent() int { return int(math.Round(100 * i.LifeLeft)) }

// Addresses are the addresses with their types, in a fixed order.
func (i instance) Addresses() string {
	var list []string
	for _, t := range slices.Sorted(maps.Keys(i.Addrs)) {
		list = append(list, t+" "+strings.Join(i.Addrs[t], " "))
	}
	return strings.Join(list, ", ")
}

// Read is BytesRead for people.
func (i instance) Read() string { return size(i.BytesRead) }

// Written is BytesWritten for people.
func (i instance) Written() string { return size(i.BytesWritten) }

func size(n int64) string {
	const unit = 1000
	f := float64(n)
	for _, name := range []string{"B", "kB", "MB", "GB"} {
		if f < unit {
			return fmt.Sprintf("%.3g %s", f, name)
		}
		f /= unit
	}
	return fmt.Sprintf("%.0f TB", f)
}

// Took is the duration of a refresh, for people.
func (a attempt) Took() string {
	d := time.Duration(a.Seconds * float64(time.Second))
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// Count returns how many instances are in each state, for the head of the page.
func (v view) Count() string {
	counts := map[state]int{}
	for _, i := range v.Instances {
		counts[i.State]++
	}
	var list []string
	for _, s := range []state{ready, failing, down, expired, empty} {
		if counts[s] > 0 {
			list = append(list, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	return strings.Join(list, ", ")
}

// UTC is the time of the view.
func (v view) UTC() string { return v.Time.Format(time.RFC3339) }
