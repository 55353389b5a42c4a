package cloudsqltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS holds the records of an emulated domain name system. It is itself a
// resolver, in the shape of a *net.Resolver, on fake time too; [DNS.Listen]
// serves the same records as a real DNS server. Names match in any letter
// case, with or without a trailing dot. A name without records does not exist. Its
// methods are safe for concurrent use.
type DNS struct {
	mu      sync.Mutex // guards everything below
	zone    map[string]*dnsRecords
	faults  map[string][]*DNSFault
	hits    map[*DNSFault]int
	queries []DNSQuery
	oneHop  bool
}

// dnsRecords are the records of one name.
type dnsRecords struct {
	txt   [][]string // each record in its strings
	cname string     // with a trailing dot
	hosts []netip.Addr
}

// DNSType is the type of a record, or of a question for it.
type DNSType string

// The types of record that a [DNS] has. It has no others.
const (
	TXT   DNSType = "TXT"
	CNAME DNSType = "CNAME"
	A     DNSType = "A"
	AAAA  DNSType = "AAAA"
)

// DNSCode is the answer to a question.
type DNSCode int

// The answers of a [DNSFault].
const (
	Genuine  DNSCode = iota // what the records say
	ServFail                // SERVFAIL: temporary, according to net.Resolver
	NXDomain                // there is no such name
	Refused                 // the server does not answer such questions: not temporary
)

// String returns the name of the constant.
func (c DNSCode) String() string {
	switch c {
	case Genuine:
		return "Genuine"
	case ServFail:
		return "ServFail"
	case NXDomain:
		return "NXDomain"
	case Refused:
		return "Refused"
	}
	return fmt.Sprintf("DNSCode(%d)", int(c))
}

// DNSFault is what goes wrong with questions for a name. [DNS.Hits] returns how
// often it did. It must not be changed once it has been given to [DNS.Fail].
type DNSFault struct {
	// Type is the type of the questions that it happens to. Default: all.
	Type DNSType

	// Times is how often the fault happens; after that, questions are answered
	// from the records. Zero means always.
	Times int

	// Delay is how long it takes until the question is answered.
	Delay time.Duration

	// Hang means no answer: the question, or the answer, is lost. A lookup by the
	// DNS's own methods fails with a timeout after ten seconds, like one by a
	// *net.Resolver that has one server.
	Hang bool

	// Code is the answer. Default: what the records say.
	Code DNSCode
}

// DNSQuery is a question that was asked.
type DNSQuery struct {
	Time  time.Time
	Name  string // in lower case, without a trailing dot
	Type  DNSType
	Fault *DNSFault // what was made to go wrong with it, or nil
}

// NewDNS returns a DNS without records.
func NewDNS() *DNS {
	return &DNS{zone: map[string]*dnsRecords{}, faults: map[string][]*DNSFault{}, hits: map[*DNSFault]int{}}
}

// SetTXT gives a name these TXT records, replacing those it has. A text of more
// than 255 bytes becomes one record of several strings.
func (d *DNS) SetTXT(name string, texts ...string) {
	records := make([][]string, len(texts))
	for i, text := range texts {
		records[i] = split(text)
	}
	d.set(name, func(r *dnsRecords) { r.txt = records })
}

// SetSplitTXT gives a name one TXT record, made of several strings. To a
// *net.Resolver they are one text. It panics if there are none, or if one is longer
// than 255 bytes.
func (d *DNS) SetSplitTXT(name string, parts ...string) {
	if len(parts) == 0 {
		panic(fmt.Sprintf("cloudsqltest: SetSplitTXT(%q): no strings", name))
	}
	for _, part := range parts {
		if len(part) > maxString {
			panic(fmt.Sprintf("cloudsqltest: SetSplitTXT(%q): a string of %d bytes", name, len(part)))
		}
	}
	record := slices.Clone(parts)
	d.set(name, func(r *dnsRecords) { r.txt = [][]string{record} })
}

// SetCNAME makes a name an alias of target, which need not exist. With an empty
// target it is an alias no longer. Questions for its other records are answered with
// those of the target, and with SERVFAIL if the aliases form a loop. Records of an
// alias itself, which real DNS does not allow, take precedence.
func (d *DNS) SetCNAME(name, target string) {
	if target != "" {
		target = strings.TrimSuffix(target, ".") + "."
	}
	d.set(name, func(r *dnsRecords) { r.cname = target })
}

// SetHost gives a name these addresses, IPv4 (A) and IPv6 (AAAA), replacing those
// it has. It panics if one is not an IP address.
func (d *DNS) SetHost(name string, ips ...string) {
	var hosts []netip.Addr
	for _, ip := range ips {
		hosts = append(hosts, must(netip.ParseAddr(ip)).Unmap())
	}
	d.set(name, func(r *dnsRecords) { r.hosts = hosts })
}

// Remove removes all records of a name, which then no longer exists.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.zone, hostKey(name))
}

func (d *DNS) set(name string, change func(*dnsRecords)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.zone[hostKey(name)]
	if r == nil {
		r = &dnsRecords{}
		d.zone[hostKey(name)] = r
	}
	change(r)
	if len(r.txt) == 0 && r.cname == "" && len(r.hosts) == 0 {
		delete(d.zone, hostKey(name))
	}
}

// AnswerOneHop makes a lookup of a CNAME return the next name and not the last,
// and answers all other questions without following aliases, as simple resolvers
// and servers that do not recurse do.
func (d *DNS) AnswerOneHop(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.oneHop = on
}

// Fail sets what goes wrong with questions for a name from now on, replacing what
// did before; of several faults, the first that matches a question happens. Without
// faults the name is good again. The targets of aliases have faults of their own.
func (d *DNS) Fail(name string, faults ...*DNSFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[hostKey(name)] = slices.Clone(faults)
}

// Hits returns how many questions have met the fault, which is identified by its
// address. A question is counted before it is answered.
func (d *DNS) Hits(f *DNSFault) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hits[f]
}

// Queries returns the questions for a name so far, oldest first. A lookup of
// hosts asks for A and AAAA.
func (d *DNS) Queries(name string) (list []DNSQuery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.queries {
		if q.Name == hostKey(name) {
			list = append(list, q)
		}
	}
	return list
}

// LookupTXT is like that of a *net.Resolver. Every error is a *net.DNSError.
func (d *DNS) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := d.lookup(ctx, name, TXT)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, parts := range a.records.txt {
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
	case a.records.cname != "": // the aliases are not followed
		return a.records.cname, nil
	case len(a.aliases) == 0 && len(a.records.hosts) == 0:
		return "", noSuchHost(host)
	}
	return a.name + ".", nil
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
		for _, ip := range a.records.hosts {
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
func (d *DNS) lookup(ctx context.Context, name string, t DNSType) (dnsAnswer, error) {
	if err := ctx.Err(); err != nil {
		return dnsAnswer{}, lookupError(name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, resolverPatience)
	defer cancel()
	a, ok := d.ask(ctx, name, t)
	switch {
	case !ok:
		return dnsAnswer{}, lookupError(name, ctx.Err())
	case a.code == dnsmessage.RCodeNameError:
		return dnsAnswer{}, noSuchHost(name)
	case a.code != dnsmessage.RCodeSuccess:
		return dnsAnswer{}, &net.DNSError{Err: "server misbehaving", Name: name, Server: "cloudsqltest", IsTemporary: a.code == dnsmessage.RCodeServerFailure}
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
