package cloudsqltest

import (
	"net/http"
	"slices"
	"time"
)

// Request is an Admin API request that the server has received.
type Request struct {
	Time     time.Time
	Method   string
	Path     string // unescaped
	Call     string // ConnectSettings, GenerateEphemeralCert, ResolveConnectSettings, or "" if unknown
	Instance string // project:instance, or "" if the call is unknown, or no instance has the DNS name
	Header   http.Header
	Body     []byte // decompressed
	Fault    *Fault // what was made to go wrong with it, or nil
	Status   int    // of the answer; 0 if there is none yet, or never will be
}

// Requests returns the requests so far, oldest first. They are kept, headers and
// bodies included, as long as the Server exists, unless MaxRequests limits their
// number; what they point to is shared and must not be modified.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.requests))
	for i, r := range s.requests {
		requests[i] = *r
	}
	return requests
}

// Hits returns how many requests have met the fault, which is identified by its
// address. A request is counted before its client can notice anything.
func (s *Server) Hits(f *Fault) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[f]
}

// record counts the request's fault, which has gone if it has happened often
// enough, and keeps the request. The function that it returns adds the status.
func (s *Server) record(req *Request) (answered func(status int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := req.Fault; f != nil {
		if f.Times > 0 && s.hits[f] >= f.Times {
			req.Fault = nil
		} else {
			s.hits[f]++
		}
	}
	kept := *req
	s.requests = keep(s.requests, &kept, s.MaxRequests)
	return func(status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		kept.Status, req.Status = status, status
	}
}

// logRequest tells of a request that has been dealt with. A panic goes on.
func (s *Server) logRequest(r *http.Request, req *Request, rule *ActiveRule) {
	if s.Logger == nil {
		return
	}
	args := []any{"method", req.Method, "path", req.Path, "status", req.Status, "client", r.RemoteAddr, "agent", req.Header.Get("User-Agent")}
	if req.Fault != nil {
		args = append(args, "fault", faultName(rule))
	}
	s.Logger.Info("API request", args...)
}

// faultName is what the log calls a fault, which is OnRequest's or OnConnect's
// if it is of no rule.
func faultName(rule *ActiveRule) string {
	if rule == nil {
		return "on demand"
	}
	return rule.String()
}

// keep appends v to list, and drops the oldest if max, unless it is zero, is
// exceeded.
func keep[T any](list []T, v T, max int) []T {
	list = append(list, v)
	if max > 0 && len(list) > max {
		list = slices.Delete(list, 0, len(list)-max)
	}
	return list
}
