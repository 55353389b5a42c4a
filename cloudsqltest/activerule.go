package cloudsqltest

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/reply"
)

// ActiveRule is a rule that a Server follows.
type ActiveRule struct {
	Rule
	server   *Server
	key      string       // project:instance, or ""
	fault    *Fault       // nil if it is for connections
	stream   *StreamFault // nil if it is not for streams
	behavior Behavior
	hits     int // guarded by Server.mu
}

// activate makes the rule one that can be followed, or returns what is wrong with it.
func (r Rule) activate() (*ActiveRule, error) {
	kind, key, err := r.check()
	if err != nil {
		return nil, err
	}
	a := &ActiveRule{Rule: r, key: key}
	if kind.fault == nil {
		a.behavior = kind.behavior
		return a, nil
	}
	if kind.streams {
		a.stream = r.forStreams(kind.fault.Hang)
	}
	fault := *kind.fault
	a.fault, fault.Delay, fault.Status, fault.Body = &fault, r.Delay, r.Status, r.Body
	if name, value, ok := strings.Cut(r.Header, ":"); ok {
		fault.Header = http.Header{http.CanonicalHeaderKey(strings.TrimSpace(name)): {strings.TrimSpace(value)}}
	}
	return a, nil
}

// forStreams is what the rule does to streams of SQL Data.
func (r Rule) forStreams(hang bool) *StreamFault {
	f := &StreamFault{Delay: r.Delay, Hang: hang}
	if r.Status != 0 {
		f.Status = status.New(grpcCode(r.Status), cmp.Or(r.Body, http.StatusText(r.Status)))
	}
	return f
}

// grpcCode is the gRPC code that an HTTP status stands for at Google. 412 is
// FAILED_PRECONDITION here, which is 400 there, as INVALID_ARGUMENT is.
func grpcCode(httpStatus int) (code codes.Code) {
	name := reply.StatusName(httpStatus)
	switch {
	case httpStatus < 400:
		return codes.OK
	case httpStatus == http.StatusPreconditionFailed:
		return codes.FailedPrecondition
	case name == "" || code.UnmarshalJSON([]byte(strconv.Quote(name))) != nil:
		return codes.Unknown
	}
	return code
}

// AddRule makes the Server follow a rule, or returns what is wrong with it. Of the
// rules that apply, the first that happens decides; OnRequest, OnConnect, OnStream
// and what was set for the instance itself take precedence over all rules. Rules can
// name instances that have not been added yet.
func (s *Server) AddRule(r Rule) (*ActiveRule, error) {
	a, err := r.activate()
	if err != nil {
		return nil, err
	}
	a.server = s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, a)
	return a, nil
}

// Rules returns the rules that the Server follows, oldest first.
func (s *Server) Rules() []*ActiveRule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rules)
}

// Hits returns how often the rule has made something go wrong.
func (a *ActiveRule) Hits() int {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	return a.hits
}

// Remove ends the rule; doing that again does nothing.
func (a *ActiveRule) Remove() {
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.server.rules = slices.DeleteFunc(a.server.rules, func(b *ActiveRule) bool { return a == b })
}

// ruleFor returns the rule that makes one call go wrong, and counts that, or
// nil. The key is project:instance, or "" if the call is about none.
func (s *Server) ruleFor(key, call string) *ActiveRule {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.rules {
		switch {
		case a.key != "" && a.key != key, a.Call != "" && a.Call != call:
		case (a.fault == nil) != (call == Connect), a.stream == nil && call == StreamSQLData:
		case a.Times > 0 && a.hits >= a.Times:
		case rand.Float64() >= cmp.Or(a.Probability, 1):
		default:
			a.hits++
			return a
		}
	}
	return nil
}
