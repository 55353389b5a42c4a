package cloudsqltest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// reply is an answer of the Admin API.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func jsonReply(v any) *reply {
	return &reply{http.StatusOK, jsonHeader(), append(must(json.Marshal(v)), '\n')}
}

// errorReply answers with the API's error envelope.
func errorReply(code int, message, reason string) *reply {
	a := &reply{code, jsonHeader(), []byte(ErrorBody(code, message, reason) + "\n")}
	if code == http.StatusUnauthorized {
		a.header.Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
	}
	return a
}

// badRequestReply has no reason: Cloud SQL gives none.
func badRequestReply(message string) *reply {
	return errorReply(http.StatusBadRequest, message, "")
}

// forbiddenReply is Cloud SQL's refusal for want of a role, as it is today.
func forbiddenReply(req *Request) *reply {
	permission := "cloudsql.instances.get"
	if req.Call == GenerateEphemeralCert {
		permission = "cloudsql.instances.connect"
	}
	instance := req.Instance[strings.LastIndex(req.Instance, ":")+1:]
	return errorReply(http.StatusForbidden, "boss::NOT_AUTHORIZED: Not authorized to access resource. Possibly missing permission "+permission+" on resource instances/"+instance+".", "forbidden")
}

func jsonHeader() http.Header {
	return http.Header{"Content-Type": {"application/json; charset=UTF-8"}}
}

func (a *reply) writeTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

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

// ErrorBody returns the API's error envelope, as the Body of a [Fault]. The
// reason is a word such as "invalidState" or "rateLimitExceeded", or empty: then
// the envelope has only a code and a message, like Cloud SQL's with the code 400.
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
	return string(must(json.MarshalIndent(envelope, "", "  ")))
}
