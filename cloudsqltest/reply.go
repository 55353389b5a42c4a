package cloudsqltest

import (
	"encoding/json"
	"maps"
	"net/http"
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

// ErrorBody returns the API's error envelope, as the Body of a [Fault]. The
// reason is a word such as "notAuthorized" or "rateLimitExceeded".
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
			Errors  []detail `json:"errors"`
			Status  string   `json:"status,omitempty"`
		} `json:"error"`
	}
	envelope.Error.Code, envelope.Error.Message = code, message
	envelope.Error.Errors = []detail{{message, "global", reason}}
	envelope.Error.Status = statusNames[code]
	return string(must(json.MarshalIndent(envelope, "", "  ")))
}
