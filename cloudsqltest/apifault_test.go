package cloudsqltest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// outcome is what a client has seen of a request.
type outcome struct {
	resp *http.Response
	body []byte
	err  error
}

func TestRequestFaultsHappenAndAreCounted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  cloudsqltest.Fault
		status int // as Requests tells it
		check  func(o outcome) bool
	}{
		{"status", cloudsqltest.Fault{Status: 503}, 503, func(o outcome) bool {
			return o.err == nil && o.resp.StatusCode == 503 && envelope(o.body) == "503 Service Unavailable UNAVAILABLE injected"
		}},
		{"status, body and header", cloudsqltest.Fault{Status: 429, Body: "<html>", Header: http.Header{"Retry-After": {"30"}}}, 429, func(o outcome) bool {
			return o.err == nil && o.resp.StatusCode == 429 && string(o.body) == "<html>" && o.resp.Header.Get("Retry-After") == "30" && strings.HasPrefix(o.resp.Header.Get("Content-Type"), "text/html")
		}},
		{"body", cloudsqltest.Fault{Body: "{}"}, 200, func(o outcome) bool {
			return o.err == nil && o.resp.StatusCode == 200 && string(o.body) == "{}"
		}},
		{"empty answer", cloudsqltest.Fault{Status: 204}, 204, func(o outcome) bool {
			return o.err == nil && o.resp.StatusCode == 204 && len(o.body) == 0
		}},
		{"header of a genuine answer", cloudsqltest.Fault{Header: http.Header{"X-Test": {"yes"}}}, 200, func(o outcome) bool {
			return o.err == nil && o.resp.Header.Get("X-Test") == "yes" && json.Valid(o.body)
		}},
		{"altered", cloudsqltest.Fault{Alter: func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("SECOND_GEN"), []byte("FIRST_GEN")) }}, 200, func(o outcome) bool {
			return o.err == nil && bytes.Contains(o.body, []byte(`"backendType":"FIRST_GEN"`))
		}},
		{"truncated, and looks complete", cloudsqltest.Fault{Alter: func(b []byte) []byte { return b[:len(b)/2] }}, 200, func(o outcome) bool {
			return o.err == nil && len(o.body) > 0 && !json.Valid(o.body)
		}},
		{"header that promises more", cloudsqltest.Fault{Header: http.Header{"Content-Length": {"100000"}}}, 200, func(o outcome) bool {
			return errors.Is(o.err, io.ErrUnexpectedEOF)
		}},
		{"reset at start", cloudsqltest.Fault{ResetAt: cloudsqltest.AtStart}, 0, func(o outcome) bool {
			return o.resp == nil && errors.Is(o.err, syscall.ECONNRESET)
		}},
		{"reset in headers", cloudsqltest.Fault{ResetAt: cloudsqltest.InHeaders}, 200, func(o outcome) bool {
			// TCP tells of a reset once, and net/http overhears it.
			return o.resp == nil && (errors.Is(o.err, syscall.ECONNRESET) || errors.Is(o.err, io.ErrUnexpectedEOF))
		}},
		{"reset in body", cloudsqltest.Fault{ResetAt: cloudsqltest.InBody, Header: http.Header{"X-Test": {"yes"}}}, 200, func(o outcome) bool {
			return o.resp != nil && o.resp.Header.Get("X-Test") == "yes" && len(o.body) > 0 && errors.Is(o.err, syscall.ECONNRESET)
		}},
		{"end at start", cloudsqltest.Fault{CutAt: cloudsqltest.AtStart}, 0, func(o outcome) bool {
			return o.resp == nil && errors.Is(o.err, io.EOF)
		}},
		{"end in headers", cloudsqltest.Fault{CutAt: cloudsqltest.InHeaders}, 200, func(o outcome) bool {
			return o.resp == nil && errors.Is(o.err, io.ErrUnexpectedEOF)
		}},
		{"end in body", cloudsqltest.Fault{CutAt: cloudsqltest.InBody, Status: 500}, 500, func(o outcome) bool {
			return o.resp != nil && o.resp.StatusCode == 500 && len(o.body) > 0 && errors.Is(o.err, io.ErrUnexpectedEOF)
		}},
		{"end in an empty body", cloudsqltest.Fault{CutAt: cloudsqltest.InBody, Status: 200}, 200, func(o outcome) bool {
			return o.resp != nil && len(o.body) == 0 && errors.Is(o.err, io.ErrUnexpectedEOF)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
				fault := tt.fault
				c.s.OnRequest = func(*http.Request) *cloudsqltest.Fault { return &fault }
				var o outcome
				o.resp, o.body, o.err = c.send(t.Context(), "GET", instancePath+"/connectSettings", "")
				if !tt.check(o) {
					t.Errorf("got %v %q, error %v", o.resp, o.body, o.err)
				}
				if got := c.s.Hits(&fault); got != 1 {
					t.Errorf("%d hits, want 1", got)
				}
				requests := c.s.Requests()
				if len(requests) != 1 || requests[0].Fault != &fault || requests[0].Status != tt.status {
					t.Errorf("got %+v, want one request with the fault and status %d", requests, tt.status)
				}
			})
		})
	}
}

// envelope is an error envelope in one line, or "" if body is none.
func envelope(body []byte) string {
	var e struct {
		Error struct {
			Code            json.Number
			Message, Status string
			Errors          []struct{ Message, Domain, Reason string }
		}
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	if len(e.Error.Errors) == 0 && e.Error.Status == "" {
		return e.Error.Code.String() + " " + e.Error.Message
	}
	if len(e.Error.Errors) != 1 || e.Error.Errors[0].Message != e.Error.Message || e.Error.Errors[0].Domain != "global" {
		return ""
	}
	return strings.Join(slices.DeleteFunc([]string{e.Error.Code.String(), e.Error.Message, e.Error.Status, e.Error.Errors[0].Reason}, func(s string) bool { return s == "" }), " ")
}

func TestDelayedAnswerComesWhenTheTimeIsOver(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		fault := &cloudsqltest.Fault{Delay: time.Minute}
		c.s.OnRequest = func(*http.Request) *cloudsqltest.Fault { return fault }
		start := time.Now()
		c.settings()
		if got := time.Since(start); got != time.Minute {
			t.Errorf("the answer took %v, want a minute", got)
		}
		if got := c.s.Hits(fault); got != 1 {
			t.Errorf("%d hits, want 1", got)
		}
	})
}

func TestHangingRequestEndsWithTheClientsPatience(t *testing.T) {
	for name, fault := range map[string]*cloudsqltest.Fault{"hang": {Hang: true}, "delay": {Delay: time.Hour}, "both": {Delay: time.Second, Hang: true}} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
				c.s.OnRequest = func(*http.Request) *cloudsqltest.Fault { return fault }
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				_, _, err := c.send(ctx, "GET", instancePath+"/connectSettings", "")
				if took := time.Since(start); took != time.Minute || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("ended after %v with %v", took, err)
				}
				if r := c.s.Requests()[0]; r.Status != 0 || c.s.Hits(fault) != 1 {
					t.Errorf("got status %d and %d hits, want 0 and 1", r.Status, c.s.Hits(fault))
				}
			})
		})
	}
}

func TestFaultWithTimesClearsByItself(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		outage := &cloudsqltest.Fault{Status: 503, Times: 2}
		c.s.OnRequest = func(*http.Request) *cloudsqltest.Fault { return outage }
		for i, want := range []int{503, 503, 200, 200} {
			resp, _, err := c.send(t.Context(), "GET", instancePath+"/connectSettings", "")
			wantNil(t, err)
			if resp.StatusCode != want {
				t.Errorf("request %d: status %d, want %d", i, resp.StatusCode, want)
			}
			if r := c.s.Requests()[i]; (r.Fault == outage) != (want == 503) || r.Status != want {
				t.Errorf("request %d is kept as %+v", i, r)
			}
		}
		if got := c.s.Hits(outage); got != 2 {
			t.Errorf("%d hits, want 2", got)
		}
	})
}

func TestOnRequestMayReadTheBody(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		var read string
		c.s.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			read = string(must(io.ReadAll(r.Body)))
			return nil
		}
		c.certificate()
		if r := c.s.Requests()[0]; read == "" || string(r.Body) != read || r.Status != 200 {
			t.Errorf("OnRequest read %q, Requests have %q, status %d", read, r.Body, r.Status)
		}
	})
}
