package cloudsqltest

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/reply"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// One that users of the emulator may ask for has a name in rule.go; doc.go lists all.

// Fault is what goes wrong with an Admin API request. [Server.Hits] returns how
// often it did. Delay comes first, then Hang; ResetAt or CutAt break off the
// answer that the other fields describe. A Fault must not be changed once
// [Server.OnRequest] has returned it.
type Fault struct {
	// Times is how often the fault happens; after that, requests are answered
	// as if OnRequest had returned nil. Zero means always.
	Times int

	// Delay is how long it takes until the request is answered, or ends otherwise.
	Delay time.Duration

	// Hang means no answer. The request ends when the client gives up or the
	// Server is closed.
	Hang bool

	// ResetAt cuts the connection with a TCP reset at this point.
	ResetAt Point

	// CutAt ends the connection at this point, if ResetAt is not set: the
	// client sees an unexpected EOF. For a truncated answer that looks complete,
	// use Alter.
	CutAt Point

	// Status and Body replace the answer if one of them is set. The default Status
	// is 200. The default Body for the Status of an error is the API's error
	// envelope, see [ErrorBody].
	Status int
	Body   string

	// Header is added to the headers of the answer, genuine or not.
	Header http.Header

	// Alter returns the body to send instead of this one, genuine or not.
	Alter func(body []byte) []byte
}

// Point is a place in an answer.
type Point int

// The places where a connection can break.
const (
	Nowhere   Point = iota
	AtStart         // before the first byte
	InHeaders       // in the middle of the headers
	InBody          // in the middle of the body
)

// String returns the name of the constant.
func (p Point) String() string {
	return constant(p, "Nowhere", "AtStart", "InHeaders", "InBody")
}

// breaksAt is where the answer breaks off.
func (f *Fault) breaksAt() Point {
	if f.ResetAt != Nowhere {
		return f.ResetAt
	}
	return f.CutAt
}

// wait returns when it is time to answer. It reports false if there is no such
// time.
func (f *Fault) wait(ctx context.Context, closing <-chan struct{}) bool {
	if f.Delay <= 0 && !f.Hang {
		return true
	}
	var over <-chan time.Time
	if !f.Hang {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
		return true
	case <-ctx.Done():
	case <-closing:
	}
	return false
}

// answer is what the fault makes of an answer.
func (f *Fault) answer(genuine func() *reply.Reply) *reply.Reply {
	a := &reply.Reply{Status: f.Status, Header: http.Header{}, Body: []byte(f.Body)}
	switch {
	case f.Status == 0 && f.Body == "":
		a = genuine()
	case f.Status == 0:
		a.Status = http.StatusOK
	case f.Status >= 400 && f.Body == "":
		a = reply.Error(f.Status, http.StatusText(f.Status), "injected")
	}
	if f.Alter != nil {
		a.Body = f.Alter(a.Body)
	}
	for k, v := range f.Header {
		a.Header[k] = v
	}
	return a
}

// readPause is what the client gets for reading what comes before a reset: a
// reset overtakes it otherwise.
const readPause = 5 * time.Millisecond

// breakOff writes the answer up to where it breaks.
func (f *Fault) breakOff(c net.Conn, a *reply.Reply) {
	if at := f.breaksAt(); at != AtStart {
		_, _ = c.Write(a.Part(at == InBody))
	}
	if f.ResetAt == Nowhere {
		_ = c.Close()
		return
	}
	if f.ResetAt != AtStart {
		time.Sleep(readPause)
	}
	sockets.Reset(c)
}

// ErrorBody returns the API's error envelope, as the Body of a [Fault]. The
// reason is a word such as "invalidState" or "rateLimitExceeded", or empty: then
// the envelope has only a code and a message, like Cloud SQL's with the code 400.
func ErrorBody(code int, message, reason string) string {
	return reply.ErrorBody(code, message, reason)
}
