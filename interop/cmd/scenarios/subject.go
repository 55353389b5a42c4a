package main

import (
	"context"
	"net"
	"runtime/debug"
	"time"

	google "cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	ours "github.com/cloudsqlconn/cloudsqlconn"
)

// dialer is what the Dialers have in common.
type dialer interface {
	Dial(ctx context.Context, instance string) (net.Conn, error)
	Close() error
}

// settings are options that both Dialers have. The zero value takes the
// defaults.
type settings struct {
	lazy     bool
	psc      bool
	dns      bool // names are looked up with net.DefaultResolver
	iam      bool
	noExpiry bool // tokens do not say when they expire
}

// subject is a Dialer under test.
type subject struct {
	name   string // its import path
	module string
	open   func(context.Context, *world) (dialer, error)
}

var subjects = []subject{
	{"ours", "github.com/cloudsqlconn/cloudsqlconn", openOurs},
	{"Google's", "cloud.google.com/go/cloudsqlconn", openGoogle},
}

// version returns the version of the subject's module in this program.
func (s subject) version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == s.module && m.Replace == nil && m.Version != "(devel)" {
				return m.Version
			}
		}
	}
	return "of this repository"
}

// tokens are the tokens for the API and for logins.
func (w *world) tokens() (api, login oauth2.TokenSource) {
	var expiry time.Time
	if !w.settings.noExpiry {
		expiry = time.Now().Add(time.Hour)
	}
	source := func(text string) oauth2.TokenSource {
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: text, Expiry: expiry})
	}
	return source(w.kit.Token()), source(w.kit.LoginToken())
}

type oursDialer struct{ *ours.Dialer }

// Dial calls Dial without options.
func (d oursDialer) Dial(ctx context.Context, instance string) (net.Conn, error) {
	return d.Dialer.Dial(ctx, instance)
}

func openOurs(ctx context.Context, w *world) (dialer, error) {
	api, login := w.tokens()
	opts := []ours.Option{ours.WithAdminAPIEndpoint(w.kit.URL()), ours.WithDialFunc(w.dial), ours.WithPrivateKey(w.key)}
	if w.settings.iam {
		opts = append(opts, ours.WithIAMAuthN(), ours.WithIAMAuthNTokenSources(api, login))
	} else {
		opts = append(opts, ours.WithTokenSource(api))
	}
	if w.settings.lazy {
		opts = append(opts, ours.WithLazyRefresh())
	}
	if w.settings.psc {
		opts = append(opts, ours.WithPSC())
	}
	if w.settings.dns {
		opts = append(opts, ours.WithDNSResolver(net.DefaultResolver))
	}
	d, err := ours.NewDialer(ctx, opts...)
	return oursDialer{d}, err
}

type googleDialer struct{ *google.Dialer }

// Dial calls Dial without options.
func (d googleDialer) Dial(ctx context.Context, instance string) (net.Conn, error) {
	return d.Dialer.Dial(ctx, instance)
}

func openGoogle(ctx context.Context, w *world) (dialer, error) {
	api, login := w.tokens()
	opts := []google.Option{
		google.WithAdminAPIEndpoint(w.kit.URL()),
		google.WithDialFunc(w.dial),
		google.WithRSAKey(w.key),
		google.WithBuiltInMetrics(false), // they would go to Google
	}
	if w.settings.iam {
		opts = append(opts, google.WithIAMAuthN(), google.WithIAMAuthNTokenSources(api, login))
	} else {
		opts = append(opts, google.WithTokenSource(api))
	}
	if w.settings.lazy {
		opts = append(opts, google.WithLazyRefresh())
	}
	if w.settings.psc {
		opts = append(opts, google.WithDefaultDialOptions(google.WithPSC()))
	}
	if w.settings.dns {
		opts = append(opts, google.WithDNSResolver())
	}
	d, err := google.NewDialer(ctx, opts...)
	return googleDialer{d}, err
}
