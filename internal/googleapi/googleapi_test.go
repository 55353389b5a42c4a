package googleapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

type book struct{ Title string }

// roundTrip is a function that is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answers makes one call that is answered so, and returns what it gives.
func answers(t *testing.T, code int, body string) (*book, http.Header, error) {
	t.Helper()
	client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.Header().Set("X-Test", "yes")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
		return w.Result(), nil
	})}
	return googleapi.Do[book](t.Context(), client, googleapi.Call{Method: http.MethodGet, URL: "http://api.test/books/1"})
}

func TestCallAsItIsSent(t *testing.T) {
	var got *http.Request
	var sent []byte
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		got = r
		sent, _ = io.ReadAll(r.Body)
		w := httptest.NewRecorder()
		_, _ = io.WriteString(w, `{"title": "Book One"}`)
		return w.Result(), nil
	})}
	header := http.Header{"Authorization": {"Bearer secret"}}
	reply, _, err := googleapi.Do[book](t.Context(), client, googleapi.Call{
		Method: http.MethodPost,
		URL:    "http://api.test/v1/projects/" + googleapi.Segment("example.com:a/b c") + ":add",
		Header: header,
		Body:   book{"Book <One>"},
	})
	if err != nil || reply.Title != "Book One" {
		t.Fatalf("got %v, %v", reply, err)
	}
	if want := "http://api.test/v1/projects/example.com%3Aa%2Fb%20c:add?alt=json&prettyPrint=false"; got.URL.String() != want || got.Method != http.MethodPost {
		t.Errorf("called %s %s, want %s", got.Method, got.URL, want)
	}
	var back book
	if err := json.Unmarshal(sent, &back); err != nil || back.Title != "Book <One>" {
		t.Errorf("sent %s", sent)
	}
	if got.Header.Get("Authorization") != "Bearer secret" || got.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(got.Header.Get("X-Goog-Api-Client"), "gl-go/1.") {
		t.Errorf("sent the headers %v", got.Header)
	}
	if len(header) != 1 {
		t.Errorf("the caller's headers have become %v", header)
	}
}

func TestReplies(t *testing.T) {
	for _, tt := range []struct {
		code int
		body string
		want *book
	}{
		{200, `{"title": "Book One", "more": [1]}`, &book{"Book One"}},
		{201, `{}`, &book{}},
		{200, `null`, nil},
		{204, ``, nil},
	} {
		got, header, err := answers(t, tt.code, tt.body)
		if err != nil || header.Get("X-Test") != "yes" {
			t.Errorf("%d %s: %v, headers %v", tt.code, tt.body, err, header)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%d %s: (-want +got)\n%s", tt.code, tt.body, diff)
		}
	}
	if _, _, err := answers(t, 200, `{"title": 5}`); errors.As(err, new(*json.UnmarshalTypeError)) == false {
		t.Errorf("got %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		code int
		body string
		want googleapi.Error
		text string
	}{
		{"one reason", 403, `{"error": {"code": 403, "message": "No.", "errors": [{"reason": "notAuthorized", "message": "No.", "domain": "global"}]}}`,
			googleapi.Error{Code: 403, Message: "No.", Errors: []googleapi.ErrorItem{{Reason: "notAuthorized", Message: "No."}}},
			"googleapi: Error 403: No., notAuthorized"},
		{"two reasons", 400, `{"error": {"message": "No.", "errors": [{"reason": "a", "message": "A."}, {"reason": "b", "message": "B."}]}}`,
			googleapi.Error{Code: 400, Message: "No.", Errors: []googleapi.ErrorItem{{Reason: "a", Message: "A."}, {Reason: "b", Message: "B."}}},
			"googleapi: Error 400: No.; a: A.; b: B."},
		{"details", 403, `{"error": {"code": 403, "message": "No.", "details": [{"reason": "IAM"}]}}`,
			googleapi.Error{Code: 403, Message: "No.", Details: []any{map[string]any{"reason": "IAM"}}},
			`googleapi: Error 403: No., details: [{"reason":"IAM"}]`},
		{"list", 503, `[{"error": {"code": 503, "message": "Later."}}]`, googleapi.Error{Code: 503, Message: "Later."}, "googleapi: Error 503: Later."},
		{"a field of another type", 403, `{"error": {"code": "403", "message": "No.", "details": {}, "errors": [{"reason": "a", "message": "No."}]}}`,
			googleapi.Error{Code: 403, Message: "No.", Errors: []googleapi.ErrorItem{{Reason: "a", Message: "No."}}}, "googleapi: Error 403: No., a"},
		{"list with a field of another type", 403, `[{"error": {"message": "No.", "details": {}}}]`, googleapi.Error{Code: 403, Message: "No."}, "googleapi: Error 403: No."},
		{"gRPC's code", 403, `{"error": {"code": 7, "message": "No."}}`, googleapi.Error{Code: 403, Message: "No."}, "googleapi: Error 403: No."},
		{"a success's code", 403, `{"error": {"code": 200, "message": "No."}}`, googleapi.Error{Code: 403, Message: "No."}, "googleapi: Error 403: No."},
		{"empty list", 503, `[]`, googleapi.Error{Code: 503}, "googleapi: got HTTP response code 503 with body: []"},
		{"page", 502, `<html>`, googleapi.Error{Code: 502}, "googleapi: got HTTP response code 502 with body: <html>"},
		{"token endpoint's", 400, `{"error": "invalid_grant"}`, googleapi.Error{Code: 400}, `googleapi: got HTTP response code 400 with body: {"error": "invalid_grant"}`},
		{"not modified", 304, ``, googleapi.Error{Code: 304}, "googleapi: got HTTP response code 304 with body: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := answers(t, tt.code, tt.body)
			got, ok := errors.AsType[*googleapi.Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if got.Header.Get("X-Test") != "yes" || got.Body != tt.body {
				t.Errorf("headers %v, body %s", got.Header, got.Body)
			}
			if got.Error() != tt.text {
				t.Errorf("got  %s\nwant %s", got, tt.text)
			}
			got.Header, got.Body = nil, ""
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		asked := 0
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			asked++
			w := httptest.NewRecorder()
			http.Redirect(w, r, "http://other.test/", code)
			return w.Result(), nil
		})}
		_, _, err := googleapi.Do[book](t.Context(), client, googleapi.Call{Method: http.MethodPost, URL: "http://api.test/books", Body: book{"secret"}})
		refusal, ok := errors.AsType[*googleapi.Error](err)
		if !ok || refusal.Code != code || refusal.Header.Get("Location") != "http://other.test/" {
			t.Errorf("%d: got %v", code, err)
		}
		if asked != 1 || client.CheckRedirect != nil {
			t.Errorf("%d: %d requests", code, asked)
		}
	}
}

func TestEndOfContextIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		cancel()
		<-r.Context().Done()
		return nil, io.ErrUnexpectedEOF
	})}
	_, _, err := googleapi.Do[book](ctx, client, googleapi.Call{Method: http.MethodGet, URL: "http://api.test/"})
	if err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

// hanging is a body without an end.
type hanging struct{ ended <-chan struct{} }

func (h hanging) Read([]byte) (int, error) {
	<-h.ended
	return 0, io.ErrUnexpectedEOF
}

func TestEndOfContextIsToldOfABody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		defer cancel()
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(hanging{ctx.Done()})}, nil
	})}
	_, _, err := googleapi.Do[book](ctx, client, googleapi.Call{Method: http.MethodGet, URL: "http://api.test/"})
	if err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func FuzzRefusal(f *testing.F) {
	f.Add(403, []byte(`{"error": {"code": 403, "message": "No.", "errors": [{"reason": "a", "message": "b"}], "details": [{}]}}`))
	f.Add(500, []byte(`[null]`))
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		if code < 300 || code > 599 {
			return
		}
		_, _, err := answers(t, code, string(body))
		if e, ok := errors.AsType[*googleapi.Error](err); !ok || e.Body != string(body) || e.Error() == "" {
			t.Errorf("got %v", err)
		}
	})
}
