package auth

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/hedge"
)

// The names of calls, as Config.Hedged is told them.
const (
	callToken    = "token"
	callMetadata = "metadata server"
)

// hedges makes calls a second time that are not answered.
type hedges struct {
	hedger hedge.Hedger
	told   func(call string)
}

type hedgesKey struct{}

// hedged returns the context of calls that are made a second time if they are
// not answered.
func (c *Credentials) hedged(ctx context.Context) context.Context {
	return context.WithValue(ctx, hedgesKey{}, &c.hedges)
}

// hedgesOf returns what makes the calls of a context.
func hedgesOf(ctx context.Context) *hedges {
	if h, ok := ctx.Value(hedgesKey{}).(*hedges); ok {
		return h
	}
	return new(hedges)
}

// count counts a call that is made a second time.
func (h *hedges) count(call string) {
	if h.told != nil {
		h.told(call)
	}
}

var errOutOfOrder = errors.New("the server is out of order")

// roundTrip sends a request, and once more beside it if no answer comes: that
// is one more token at the worst. The answer has been read to its end, or what
// is bearable of it. A caller's own transport has both.
func (h *hedges) roundTrip(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.GetBody == nil { // it can be sent only once
		return base.RoundTrip(req)
	}
	if req.Body != nil {
		defer req.Body.Close()
	}
	resp, err := hedge.Run(req.Context(), &h.hedger, hedge.Call[*http.Response]{
		Do: func(ctx context.Context, second bool) (*http.Response, error) {
			rt := base
			if second {
				rt = another(base)
			}
			resp, err := send(ctx, rt, req)
			if err != nil || resp == nil {
				return resp, err
			}
			wait := RetryAfter(resp.Header, time.Now())
			if resp.StatusCode == http.StatusTooManyRequests {
				wait = max(wait, quotaPause)
			}
			h.hedger.Quiet(wait)
			if resp.StatusCode >= 500 && wait == 0 {
				return resp, errOutOfOrder
			}
			return resp, nil
		},
		Weigh: func(err error) hedge.Weight {
			if errors.Is(err, errOutOfOrder) {
				return hedge.Passing
			}
			return hedge.Unanswered
		},
		Hedged: func() { h.count(callToken) },
	})
	if errors.Is(err, errOutOfOrder) {
		err = nil // an answer like others, for who asked
	}
	return resp, err
}

// send sends a copy of req, and reads the answer.
func send(ctx context.Context, rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	clone := req.Clone(ctx)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		clone.Body = body
	}
	resp, err := rt.RoundTrip(clone)
	if err != nil || resp == nil || resp.Body == nil { // net/http takes care of these
		return resp, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, err
	}
	resp.Body, resp.Request = io.NopCloser(bytes.NewReader(body)), req
	return resp, nil
}

// another returns a transport with connections of its own, in place of the
// default one: that may have just one, which is dead.
func another(rt http.RoundTripper) http.RoundTripper {
	if e, ok := rt.(ending); ok {
		return ending{e.ctx, another(e.base)}
	}
	t, ok := rt.(*http.Transport)
	if !ok || rt != http.DefaultTransport {
		return rt
	}
	t = t.Clone()
	t.DisableKeepAlives = true // nobody will close it
	return t
}
