package cloudsqltest

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/dns"
)

// LookupTXT is like that of a *net.Resolver. Every error is a *net.DNSError.
func (d *DNS) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := d.lookup(ctx, name, TXT)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, parts := range a.Records.TXT {
		texts = append(texts, strings.Join(parts, ""))
	}
	if len(texts) == 0 {
		return nil, noSuchHost(name)
	}
	return texts, nil
}

// LookupCNAME is like that of a *net.Resolver: it returns the last name in the chain
// of aliases, with a trailing dot, or host itself if that has addresses and is not
// an alias. Every error is a *net.DNSError.
func (d *DNS) LookupCNAME(ctx context.Context, host string) (string, error) {
	a, err := d.lookup(ctx, host, CNAME)
	switch {
	case err != nil:
		return "", err
	case a.Records.CNAME != "": // the aliases are not followed
		return a.Records.CNAME, nil
	case len(a.Aliases) == 0 && len(a.Records.Hosts) == 0:
		return "", noSuchHost(host)
	}
	return a.Name + ".", nil
}

// LookupHost is like that of a *net.Resolver: it returns the IPv4 addresses of
// a name, then the IPv6 ones. Every error is a *net.DNSError.
func (d *DNS) LookupHost(ctx context.Context, host string) (addrs []string, err error) {
	for _, t := range []DNSType{A, AAAA} {
		a, lookupErr := d.lookup(ctx, host, t)
		if lookupErr != nil {
			err = lookupErr
			continue
		}
		for _, ip := range a.Records.Hosts {
			if ip.Is4() == (t == A) {
				addrs = append(addrs, ip.String())
			}
		}
	}
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case err == nil:
		err = noSuchHost(host)
	}
	return nil, err
}

// resolverPatience is how long a lookup waits for an answer that never comes.
const resolverPatience = 10 * time.Second

// lookup asks a question as a *net.Resolver does.
func (d *DNS) lookup(ctx context.Context, name string, t DNSType) (dns.Answer, error) {
	if err := ctx.Err(); err != nil {
		return dns.Answer{}, lookupError(name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, resolverPatience)
	defer cancel()
	a, ok := d.ask(ctx, name, t)
	switch {
	case !ok:
		return dns.Answer{}, lookupError(name, ctx.Err())
	case a.Code == dnsmessage.RCodeNameError:
		return dns.Answer{}, noSuchHost(name)
	case a.Code != dnsmessage.RCodeSuccess:
		return dns.Answer{}, &net.DNSError{Err: "server misbehaving", Name: name, Server: "cloudsqltest", IsTemporary: a.Code == dnsmessage.RCodeServerFailure}
	}
	return a, nil
}

func noSuchHost(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, Server: "cloudsqltest", IsNotFound: true}
}

func lookupError(name string, err error) error {
	timeout := errors.Is(err, context.DeadlineExceeded)
	text := "operation was canceled"
	if timeout {
		text = "i/o timeout"
	}
	return &net.DNSError{UnwrapErr: err, Err: text, Name: name, Server: "cloudsqltest", IsTimeout: timeout, IsTemporary: timeout}
}
