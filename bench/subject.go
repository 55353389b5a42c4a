package bench

import (
	"context"
	"crypto/rsa"
	"errors"
	"net"

	peer "cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/bench/internal/client"
)

// subject is one of the things that are compared.
type subject interface {
	Name() string
	Dial(ctx context.Context) (net.Conn, error)
	Close()
}

// The names of the subjects.
const (
	oursName = "ours"
	peerName = "Google's"
	bareName = "bare"

	beforeName = "before" // this library at another commit
)

// ours is this library.
type ours struct {
	*cloudsqlconn.Dialer
	instance string
}

// newOurs returns a Dialer of this library. It makes its own key if key is
// nil.
func newOurs(t target, key *rsa.PrivateKey) (*ours, error) {
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(t.URL),
		cloudsqlconn.WithTokenSource(t.token()),
	}
	if !client.Direct(t.Addrs) {
		opts = append(opts, cloudsqlconn.WithDialFunc(t.dialContext))
	}
	if key != nil {
		opts = append(opts, cloudsqlconn.WithPrivateKey(key))
	}
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	return &ours{d, t.Instance}, err
}

func (o *ours) Name() string { return oursName }

func (o *ours) Dial(ctx context.Context) (net.Conn, error) { return o.Dialer.Dial(ctx, o.instance) }

func (o *ours) Close() { _ = o.Dialer.Close() }

// theirs is Google's, cloud.google.com/go/cloudsqlconn.
type theirs struct {
	*peer.Dialer
	instance string
}

func newPeer(t target, key *rsa.PrivateKey) (*theirs, error) {
	opts := []peer.Option{
		peer.WithAdminAPIEndpoint(t.URL),
		peer.WithTokenSource(t.token()),
		peer.WithBuiltInMetrics(false),
	}
	if !client.Direct(t.Addrs) {
		opts = append(opts, peer.WithDialFunc(t.dialContext))
	}
	if key != nil {
		opts = append(opts, peer.WithRSAKey(key))
	}
	d, err := peer.NewDialer(context.Background(), opts...)
	return &theirs{d, t.Instance}, err
}

func (p *theirs) Name() string { return peerName }

func (p *theirs) Dial(ctx context.Context) (net.Conn, error) { return p.Dialer.Dial(ctx, p.instance) }

func (p *theirs) Close() { _ = p.Dialer.Close() }

// connector makes the subject of that name, unless it is bare.
func connector(name string, t target, key *rsa.PrivateKey) (subject, error) {
	switch name {
	case oursName:
		return newOurs(t, key)
	case peerName:
		return newPeer(t, key)
	}
	return nil, errors.New("no connector has the name " + name)
}

// all makes one subject of each kind, with one client key.
func all(t target, key *rsa.PrivateKey) ([]subject, error) {
	o, err := newOurs(t, key)
	if err != nil {
		return nil, err
	}
	p, err := newPeer(t, key)
	if err != nil {
		return nil, err
	}
	b, err := newBare(t, key)
	if err != nil {
		return nil, err
	}
	return []subject{o, p, b}, nil
}

func closeAll(subjects []subject) {
	for _, s := range subjects {
		s.Close()
	}
}

// target is an instance of the kit, and how to get there.
type target struct {
	URL, Token string
	Instance   string            // project:region:instance
	Addrs      map[string]string // where an address of the metadata really leads, unless it is silent
}

func (t target) token() oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: t.Token})
}

func (t target) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, t.Addrs[host])
}
