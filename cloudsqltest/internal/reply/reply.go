// Package reply has the answers of the SQL Admin API: their form, and where they
// break off. It knows nothing of instances, nor of what a request is answered with.
package reply

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Reply is an answer.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON is a good answer.
func JSON(v any) *Reply {
	b, err := json.Marshal(v)
	if err != nil {
		panic("cloudsqltest: " + err.Error())
	}
	return &Reply{http.StatusOK, header(), append(b, '\n')}
}

// Error answers with the API's error envelope, see [ErrorBody].
func Error(code int, message, reason string) *Reply {
	r := &Reply{code, header(), []byte(ErrorBody(code, message, reason) + "\n")}
	if code == http.StatusUnauthorized {
		r.Header.Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
	}
	return r
}

func header() http.Header {
	return http.Header{"Content-Type": {"application/json; charset=UTF-8"}}
}

// Send sends the whole answer.
func (r *Reply) Send(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.Header)
	w.WriteHeader(r.Status)
	_, _ = w.Write(r.Body)
}

// Part is the beginning of the answer as it is sent, up to the middle of the headers
// or, withBody, to the middle of the body. It promises more than it has.
func (r *Reply) Part(withBody bool) []byte {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", r.Status, http.StatusText(r.Status), max(len(r.Body), 1))
	if withBody {
		_ = r.Header.WriteSubset(w, map[string]bool{"Content-Length": true})
		_, _ = w.WriteString("\r\n")
		_, _ = w.Write(r.Body[:len(r.Body)/2])
	}
	_ = w.Flush()
	return b.Bytes()
}

// StatusName is the name that the API gives to an HTTP code, or "".
func StatusName(code int) string { return statusNames[code] }

// statusNames are the names that the API gives to HTTP codes.
var statusNames = map[int]string{
	http.StatusBadRequest:          "INVALID_ARGUMENT",
	http.StatusUnauthorized:        "UNAUTHENTICATED",
	http.StatusForbidden:           "PERMISSION_DENIED",
	http.StatusNotFound:            "NOT_FOUND",
	http.StatusConflict:            "ABORTED",
	http.StatusTooManyRequests:     "RESOURCE_EXHAUSTED",
	http.StatusInternalServerError: "INTERNAL",
	http.StatusNotImplemented:      "UNIMPLEMENTED",
	http.StatusServiceUnavailable:  "UNAVAILABLE",
	http.StatusGatewayTimeout:      "DEADLINE_EXCEEDED",
}

// reasons are those that Cloud SQL itself gives. Its envelopes have no status:
// those with one come from what stands before all of Google's APIs.
var reasons = []string{"", "forbidden", "instanceDoesNotExist", "invalidState", "notAuthorized"}

// ErrorBody returns the API's error envelope. The reason may be empty.
func ErrorBody(code int, message, reason string) string {
	type detail struct {
		Message string `json:"message"`
		Domain  string `json:"domain"`
		Reason  string `json:"reason"`
	}
	var envelope struct {
		Error struct {
			Code    int      `json:"code"`
			Message string   `json:"message"`
			Errors  []detail `json:"errors,omitempty"`
			Status  string   `json:"status,omitempty"`
		} `json:"error"`
	}
	envelope.Error.Code, envelope.Error.Message = code, message
	if reason != "" {
		envelope.Error.Errors = []detail{{message, "global", reason}}
	}
	if !slices.Contains(reasons, reason) {
		envelope.Error.Status = statusNames[code]
	}
	b, err := json.MarshalIndent(envelope, "", "  ")
	if err != nil {
		panic("cloudsqltest: " + err.Error())
	}
	return string(b)
}
