// Package netdial opens TCP connections: through proxies, and so that a dead
// peer is noticed. It knows nothing of instances.
package netdial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"
)

// Func opens a connection, as [net.Dialer.DialContext] does.
type Func = func(ctx context.Context, network, addr string) (net.Conn, error)

// Proxy is a proxy that opens TCP connections for its clients. It is immutable.
type Proxy struct {
	scheme string
	host   string
	addr   string // with a port
	user   *url.Userinfo
	passes func(*url.URL) (*url.URL, error) // returns nil for what is not for the proxy; nil: all is
}

// Error is what went wrong on the way to a proxy or in it. Its text names the
// proxy and never its password.
type Error struct {
	Proxy *Proxy
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("proxy %v: %v", e.Proxy, e.Err) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// String returns the proxy's address and kind.
func (p *Proxy) String() string { return p.addr + " (" + p.scheme + ")" }

var defaultPorts = map[string]string{"socks5": "1080", "socks5h": "1080", "http": "80", "https": "443"}

// maxSOCKS is how long a user name and a password may be (RFC 1929).
const maxSOCKS = 255

// errNoURL does not show what was given: there can be a password in it, and not
// always where it belongs.
var errNoURL = errors.New("want a URL such as socks5://proxy.example.com:1080 or https://user:password@proxy.example.com, with / ? # @ in the password percent-encoded")

// ParseProxy reads a proxy's URL. The schemes are socks5 and socks5h (the
// same: the proxy looks up names), http and https (the method CONNECT, over TCP
// or TLS). The default ports are 1080, 80 and 443. Errors show neither user
// name nor password.
func ParseProxy(rawURL string) (*Proxy, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return nil, errNoURL
	}
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	p := &Proxy{scheme: u.Scheme, host: u.Hostname(), addr: net.JoinHostPort(u.Hostname(), port), user: u.User}
	if defaultPorts[u.Scheme] == "" {
		const longest = len("socks4a") // what is longer can be anything
		if len(u.Scheme) > longest {
			return nil, fmt.Errorf("unknown scheme: %w", errNoURL)
		}
		return nil, fmt.Errorf("unknown scheme %q: %w", u.Scheme, errNoURL)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("port %s: want one of 1 to 65535", port)
	}
	if err := p.checkUser(); err != nil {
		return nil, err
	}
	return p, nil
}

// checkUser finds credentials that cannot be sent.
func (p *Proxy) checkUser() error {
	name := p.user.Username()
	password, _ := p.user.Password()
	switch {
	case p.user == nil:
		return nil
	case strings.HasPrefix(p.scheme, "http") && strings.Contains(name, ":"):
		return errors.New("a colon in the user name: HTTP takes none there")
	case strings.HasPrefix(p.scheme, "socks") && (name == "" || len(name) > maxSOCKS || len(password) > maxSOCKS):
		return fmt.Errorf("SOCKS takes a user name of 1 to %d bytes and a password of at most %d", maxSOCKS, maxSOCKS)
	}
	return nil
}

// FromEnvironment returns the proxy that the environment names: all_proxy, or
// else ALL_PROXY, for every host but those of no_proxy, or else NO_PROXY, and
// this machine itself. It returns nil if none is named.
func FromEnvironment() (*Proxy, error) {
	rawURL := either("all_proxy", "ALL_PROXY")
	if rawURL == "" {
		return nil, nil
	}
	p, err := ParseProxy(rawURL)
	if err != nil {
		return nil, fmt.Errorf("ALL_PROXY: %w", err)
	}
	config := httpproxy.Config{HTTPSProxy: "http://" + p.addr, NoProxy: either("no_proxy", "NO_PROXY")}
	p.passes = config.ProxyFunc()
	return p, nil
}

// ForURL returns the proxy that net/http uses for a URL, http or https: that of
// the environment variables HTTP_PROXY and HTTPS_PROXY, but for the hosts of
// NO_PROXY and this machine itself. It returns nil if there is none.
func ForURL(target string) (*Proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	through, err := httpproxy.FromEnvironment().ProxyFunc()(u)
	if err != nil || through == nil {
		if err != nil {
			err = fmt.Errorf("HTTPS_PROXY: %w", errNoURL) // err shows what was given
		}
		return nil, err
	}
	p, err := ParseProxy(through.String())
	if err != nil {
		return nil, fmt.Errorf("HTTPS_PROXY: %w", err)
	}
	return p, nil
}

// either prefers the first, as curl and net/http do.
func either(first, second string) string {
	if v := os.Getenv(first); v != "" {
		return v
	}
	return os.Getenv(second)
}

// Dial opens a connection to addr, a host and a port, through the proxy, which
// itself is reached with dial. Host names are looked up by the proxy. When ctx
// ends before the proxy has connected, Dial closes the connection to it.
func (p *Proxy) Dial(ctx context.Context, dial Func, addr string) (net.Conn, error) {
	if p.passes != nil {
		if through, err := p.passes(&url.URL{Scheme: "https", Host: addr}); err != nil || through == nil {
			return dial(ctx, "tcp", addr)
		}
	}
	conn, err := dial(ctx, "tcp", p.addr)
	if err != nil {
		return nil, &Error{p, err}
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = conn.Close()
	})
	tunnel, err := p.tunnel(conn, addr)
	if !stop() {
		<-closed
		return nil, &Error{p, fmt.Errorf("no answer: %w", context.Cause(ctx))}
	}
	if err != nil {
		_ = conn.Close()
		return nil, &Error{p, fmt.Errorf("cannot reach %s: %w", addr, err)}
	}
	return tunnel, nil
}

// tunnel makes a connection to the proxy one to addr. It does not return
// before the proxy answers or conn is closed.
func (p *Proxy) tunnel(conn net.Conn, addr string) (net.Conn, error) {
	switch p.scheme {
	case "https":
		tc, err := p.secure(conn)
		if err != nil {
			return nil, err
		}
		return tc, connect(tc, addr, p.user)
	case "http":
		return conn, connect(conn, addr, p.user)
	case "socks5", "socks5h":
		return conn, p.connectSOCKS(conn, addr)
	}
	return nil, fmt.Errorf("unknown scheme %q", p.scheme)
}

// connectSOCKS asks a SOCKS5 proxy (RFC 1928) to connect to addr.
func (p *Proxy) connectSOCKS(conn net.Conn, addr string) error {
	var auth *proxy.Auth
	if p.user != nil {
		password, _ := p.user.Password()
		auth = &proxy.Auth{User: p.user.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", p.addr, auth, connected{conn})
	if err != nil {
		return err
	}
	// With another context x/net would start a goroutine of its own. What it
	// returns only hides the methods of conn.
	_, err = d.(proxy.ContextDialer).DialContext(context.Background(), "tcp", addr)
	if op, ok := err.(*net.OpError); ok {
		return op.Err // the rest repeats the addresses
	}
	return err
}

// connected is a dialer that has dialled.
type connected struct{ conn net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.conn, nil }

func (c connected) DialContext(context.Context, string, string) (net.Conn, error) {
	return c.conn, nil
}
