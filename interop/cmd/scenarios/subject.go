package main

import (
	"context"
	"net"
	"runtime/debug"
	"time"

	google "cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	ours "github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
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
	open   func(context.Context, *cloudsqltest.Server, settings, dialFunc) (dialer, error)
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

var subjects = []subject{
	{"ours", "github.com/cloudsqlconn/cloudsqlconn", openOurs},
	{"Google's", "cloud.google.com/go/cloudsqlconn", openGoogle},
}

// version returns the version of the subject's module in this program.
func (s subject) version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == s.module && m.Replace == nil {
				return m.Version
			}
		}
	}
	return "of this repository"
}

// tokens are the tokens for the API and for logins.
func tokens(kit *cloudsqltest.Server, set settings) (api, login oauth2.TokenSource) {
	var expiry time.Time
	if !set.noExpiry {
		expiry = time.Now().Add(time.Hour)
	}
	source := func(text string) oauth2.TokenSource {
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: text, Expiry: expiry})
	}
	return source(kit.Token()), source(kit.LoginToken())
}

type oursDialer struct{ *ours.Dialer }

// Dial calls Dial without options.
func (d oursDialer) Dial(ctx context.Context, instance string) (net.Conn, error) {
	return d.Dialer.Dial(ctx, instance)
}

func openOurs(ctx context.Context, kit *cloudsqltest.Server, set settings, dial dialFunc) (dialer, error) {
	api, login := tokens(kit, set)
	opts := []ours.Option{ours.WithAdminAPIEndpoint(kit.URL()), ours.WithDialFunc(dial)}
	if set.iam {
		opts = append(opts, ours.WithIAMAuthN(), ours.WithIAMAuthNTokenSources(api, login))
	} else {
		opts = append(opts, ours.WithTokenSource(api))
	}
	if set.lazy {
		opts = append(opts, ours.WithLazyRefresh())
	}
	if set.psc {
		opts = append(opts, ours.WithPSC())
	}
	if set.dns {
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

func openGoogle(ctx context.Context, kit *cloudsqltest.Server, set settings, dial dialFunc) (dialer, error) {
	api, login := tokens(kit, set)
	opts := []google.Option{
		google.WithAdminAPIEndpoint(kit.URL()),
		google.WithDialFunc(dial),
		google.WithBuiltInMetrics(false), // they would go to Google
	}
	if set.iam {
		opts = append(opts, google.WithIAMAuthN(), google.WithIAMAuthNTokenSources(api, login))
	} else {
		opts = append(opts, google.WithTokenSource(api))
	}
	if set.lazy {
		opts = append(opts, google.WithLazyRefresh())
	}
	if set.psc {
		opts = append(opts, google.WithDefaultDialOptions(google.WithPSC()))
	}
	if set.dns {
		opts = append(opts, google.WithDNSResolver())
	}
	d, err := google.NewDialer(ctx, opts...)
	return googleDialer{d}, err
}
