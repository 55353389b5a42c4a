package sqldata

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Endpoint is where the service is.
type Endpoint struct {
	Host      string // a name or an IP address, without brackets
	Port      string
	Plaintext bool // HTTP/2 without TLS
}

// Addr is host and port.
func (e Endpoint) Addr() string { return net.JoinHostPort(e.Host, e.Port) }

// String is a URL.
func (e Endpoint) String() string {
	if e.Plaintext {
		return "http://" + e.Addr()
	}
	return "https://" + e.Addr()
}

// errNoEndpoint does not show what was given.
var errNoEndpoint = errors.New("want host, host:port or a URL such as https://sqladmin.googleapis.com, without a path")

// ParseEndpoint reads a host, host:port, or a URL of the schemes https and http,
// which is without TLS. An IPv6 address with a port, or in a URL, is in
// brackets. The default ports are 443 and, for http, 80.
func ParseEndpoint(s string) (Endpoint, error) {
	if ip := net.ParseIP(s); ip != nil {
		s = net.JoinHostPort(s, "443")
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Endpoint{}, errNoEndpoint
	}
	e := EndpointOf(u)
	if u.Scheme != "https" && u.Scheme != "http" {
		return Endpoint{}, errNoEndpoint
	}
	if n, err := strconv.ParseUint(e.Port, 10, 16); err != nil || n == 0 {
		return Endpoint{}, errNoEndpoint
	}
	return e, nil
}

// EndpointOf is where the server of a URL is: of the schemes https and http, whose
// ports are 443 and 80 if it has none.
func EndpointOf(u *url.URL) Endpoint {
	e := Endpoint{Host: u.Hostname(), Port: u.Port(), Plaintext: u.Scheme == "http"}
	switch {
	case e.Port != "":
	case e.Plaintext:
		e.Port = "80"
	default:
		e.Port = "443"
	}
	return e
}
