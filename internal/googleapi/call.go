// Package googleapi makes calls of Google's JSON APIs. It stands in for
// google.golang.org/api, whose module has the clients of all of Google's APIs:
// 52 MB to download for the four calls that this library makes. It knows nothing of
// Cloud SQL.
package googleapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
)

// Call is one call, to be made once.
type Call struct {
	Method string      // GET or POST
	URL    string      // without a query
	Header http.Header // of the request; those that JSON needs are added
	Body   any         // is sent as JSON; nil: nothing
}

// runs is what the header X-Goog-Api-Client says: the version of Go.
var runs = "gl-go/" + strings.TrimPrefix(runtime.Version(), "go")

// Do makes the call and decodes the reply into a new T. It returns the reply's
// headers with it. The T is nil if the reply is null, or has no content. Every
// status but a 2xx is an [*Error]: redirects are not followed, since these APIs send none,
// and what is in a call is for nobody else. The end of ctx is told as ctx.Err().
func Do[T any](ctx context.Context, c *http.Client, call Call) (*T, http.Header, error) {
	var body io.Reader
	if call.Body != nil {
		text, err := json.Marshal(call.Body)
		if err != nil {
			return nil, nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, call.URL+"?alt=json&prettyPrint=false", body)
	if err != nil {
		return nil, nil, err
	}
	req.Header = call.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("X-Goog-Api-Client", runs)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := *c
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		if err != nil {
			return nil, nil, &Error{Code: resp.StatusCode, Body: string(text), Header: resp.Header}
		}
		return nil, nil, newError(resp.StatusCode, resp.Header, text)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, nil, err
	}
	if resp.StatusCode == http.StatusNoContent {
		return nil, resp.Header, nil
	}
	reply := new(T)
	if err := json.Unmarshal(text, &reply); err != nil {
		return nil, nil, err
	}
	return reply, resp.Header, nil
}

// Segment returns text as one segment of a URL's path.
func Segment(text string) string {
	return strings.ReplaceAll(url.PathEscape(text), ":", "%3A") // a colon begins the method of a call
}
