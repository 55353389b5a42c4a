package googleapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Error is a refusal: an answer whose status is not 2xx.
type Error struct {
	Code    int         // HTTP status
	Message string      // "": the answer has not the form of an API's
	Errors  []ErrorItem // reasons, in the older of two forms
	Details []any       // reasons, in the newer form, as decoded JSON
	Body    string      // as received
	Header  http.Header // of the answer
}

// ErrorItem is one reason of a refusal.
type ErrorItem struct {
	Reason  string `json:"reason"` // such as notAuthorized
	Message string `json:"message"`
}

// newError reads a refusal.
func newError(code int, header http.Header, body []byte) *Error {
	type refusal struct {
		Error *struct {
			Code    int         `json:"code"`
			Message string      `json:"message"`
			Errors  []ErrorItem `json:"errors"`
			Details []any       `json:"details"`
		} `json:"error"`
	}
	e := &Error{Code: code, Header: header, Body: string(body)}
	// A field of another type is left out, and the rest is read all the same.
	var one refusal
	if json.Unmarshal(body, &one) != nil && one.Error == nil {
		var list []refusal // some front ends answer with a list of one
		if _ = json.Unmarshal(body, &list); len(list) == 0 {
			return e
		}
		one = list[0]
	}
	if said := one.Error; said != nil {
		e.Message, e.Errors, e.Details = said.Message, said.Errors, said.Details
		if said.Code >= 400 && said.Code <= 599 { // others are none of HTTP's, but gRPC's for example
			e.Code = said.Code
		}
	}
	return e
}

// Reason is the first reason that the refusal gives, in the newer form if it has
// one; "" if it has none.
func (e *Error) Reason() string {
	for _, detail := range e.Details {
		info, _ := detail.(map[string]any) // google.rpc.ErrorInfo, among others
		if reason, ok := info["reason"].(string); ok {
			return reason
		}
	}
	if len(e.Errors) > 0 {
		return e.Errors[0].Reason
	}
	return ""
}

// Error tells status, message and reasons, and of an answer in another form
// the body.
func (e *Error) Error() string {
	if e.Message == "" && len(e.Errors) == 0 {
		return fmt.Sprintf("googleapi: got HTTP response code %d with body: %s", e.Code, e.Body)
	}
	text := fmt.Sprintf("googleapi: Error %d: %s", e.Code, e.Message)
	if len(e.Details) > 0 {
		if details, err := json.Marshal(e.Details); err == nil {
			text += ", details: " + string(details)
		}
	}
	if len(e.Errors) == 1 && e.Errors[0].Message == e.Message {
		return text + ", " + e.Errors[0].Reason
	}
	for _, item := range e.Errors {
		text += fmt.Sprintf("; %s: %s", item.Reason, item.Message)
	}
	return strings.TrimSpace(text)
}
