package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/hedge"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// do makes a call, a new one after transient failures, and once more with a new
// token if the token was refused. Its errors name the call, and tell neither
// the secrets in it nor the token that authorises it.
func do[T any](ctx context.Context, c *Client, name string, call googleapi.Call, secrets ...string) (*T, error) {
	return retry(ctx, c, func(ctx context.Context) (*T, error) {
		reply, token, err := hedged[T](ctx, c, name, call, secrets)
		if code, _ := refusal(err); code == http.StatusUnauthorized && token != "" && c.api.replace(token) {
			reply, _, err = hedged[T](ctx, c, name, call, secrets)
		}
		return reply, err
	})
}

// hedged makes a call, and makes it again beside itself if it is not answered.
// It returns the token that authorised it, or "" if there was none.
func hedged[T any](ctx context.Context, c *Client, name string, call googleapi.Call, secrets []string) (*T, string, error) {
	call.Header = http.Header{"User-Agent": {c.cfg.UserAgent}}
	token, err := c.authorize(ctx, call.Header)
	if err != nil {
		return nil, "", err
	}
	secrets = append(slices.Clip(secrets), token)
	reply, err := hedge.Run(ctx, &c.hedger, hedge.Call[*T]{
		Do: func(ctx context.Context, second bool) (*T, error) {
			client := c.clients[0]
			if second {
				client = c.clients[1]
			}
			reply, err := once[T](ctx, c, client, name, call, secrets)
			c.heed(ctx, err)
			return reply, err
		},
		Weigh: weigh,
		Hedged: func() {
			if c.cfg.Hedged != nil {
				c.cfg.Hedged(name)
			}
			traceOf(ctx).hedged()
		},
	})
	return reply, token, err
}

// heed takes in what a call that has failed tells of the API.
func (c *Client) heed(ctx context.Context, err error) {
	if wait := RetryAfter(err, time.Now()); wait > 0 {
		c.hedger.Quiet(wait)
	}
	if err != nil && ctx.Err() == nil && weigh(err) != hedge.Final {
		traceOf(ctx).failed(err)
	}
}

// weigh says what the error of a call means for the one beside it.
func weigh(err error) hedge.Weight {
	code, _ := refusal(err)
	_, nonsense := errors.AsType[*ReplyError](err)
	switch {
	case Terminal(err) && !nonsense, NotReady(err), RetryAfter(err, time.Now()) > 0:
		return hedge.Final
	case code != 0, nonsense:
		return hedge.Passing
	}
	return hedge.Unanswered
}

// once makes a call that is authorised.
func once[T any](ctx context.Context, c *Client, client *http.Client, name string, call googleapi.Call, secrets []string) (*T, error) {
	reply, header, err := googleapi.Do[T](ctx, client, call)
	if err != nil {
		return nil, c.callError(name, call.Header, err, secrets...)
	}
	if reply == nil { // the JSON was null
		return nil, &ReplyError{Field: name, Problem: "is null"}
	}
	if settings, ok := any(reply).(*sqladmin.ConnectSettings); ok {
		settings.Header = header
	}
	return reply, nil
}

// callError returns the error of a call that was made with these headers.
func (c *Client) callError(name string, h http.Header, err error, secrets ...string) error {
	err = newCallError(name, err, secrets...)
	if call, ok := errors.AsType[*CallError](err); ok {
		call.QuotaProject, call.ClockOffset = h.Get("X-Goog-User-Project"), c.clockOffset()
		if c.cfg.Principal != nil {
			call.Principal = c.cfg.Principal()
		}
	}
	return err
}

// authorize sets the headers that say who asks, and returns the token in them.
func (c *Client) authorize(ctx context.Context, h http.Header) (string, error) {
	if c.cfg.QuotaProject != "" {
		h.Set("X-Goog-User-Project", c.cfg.QuotaProject)
	}
	if c.api == nil {
		return "", nil
	}
	tok, err := c.api.token(ctx)
	if err != nil {
		return "", err
	}
	if project := auth.QuotaProject(tok); project != "" && c.cfg.QuotaProject == "" {
		h.Set("X-Goog-User-Project", project)
	}
	h.Set("Authorization", tok.Type()+" "+tok.AccessToken)
	return tok.AccessToken, nil
}
