package cloudsqltest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/dns"
)

// DNS holds the records of an emulated domain name system. It is itself a
// resolver, in the shape of a *net.Resolver, on fake time too; [DNS.Listen]
// serves the same records as a real DNS server. Names match in any letter
// case, with or without a trailing dot. A name without records does not exist. Its
// methods are safe for concurrent use.
type DNS struct {
	zone *dns.Zone

	mu      sync.Mutex // guards everything below
	faults  map[string][]*DNSFault
	hits    map[*DNSFault]int
	queries []DNSQuery
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
	return constant(c, "Genuine", "ServFail", "NXDomain", "Refused")
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
	return &DNS{zone: dns.NewZone(), faults: map[string][]*DNSFault{}, hits: map[*DNSFault]int{}}
}

// SetTXT gives a name these TXT records, replacing those it has. A text of more
// than 255 bytes becomes one record of several strings.
func (d *DNS) SetTXT(name string, texts ...string) {
	records := make([][]string, len(texts))
	for i, text := range texts {
		records[i] = dns.Split(text)
	}
	d.zone.Change(name, func(r *dns.Records) { r.TXT = records })
}

// SetSplitTXT gives a name one TXT record, made of several strings. To a
// *net.Resolver they are one text. It panics if there are none, or if one is longer
// than 255 bytes.
func (d *DNS) SetSplitTXT(name string, parts ...string) {
	if len(parts) == 0 {
		panic(fmt.Sprintf("cloudsqltest: SetSplitTXT(%q): no strings", name))
	}
	for _, part := range parts {
		if len(part) > dns.MaxString {
			panic(fmt.Sprintf("cloudsqltest: SetSplitTXT(%q): a string of %d bytes", name, len(part)))
		}
	}
	record := slices.Clone(parts)
	d.zone.Change(name, func(r *dns.Records) { r.TXT = [][]string{record} })
}

// SetCNAME makes a name an alias of target, which need not exist. With an empty
// target it is an alias no longer. Questions for its other records are answered with
// those of the target, and with SERVFAIL if the aliases form a loop. Records of an
// alias itself, which real DNS does not allow, take precedence.
func (d *DNS) SetCNAME(name, target string) {
	if target != "" {
		target = strings.TrimSuffix(target, ".") + "."
	}
	d.zone.Change(name, func(r *dns.Records) { r.CNAME = target })
}

// SetHost gives a name these addresses, IPv4 (A) and IPv6 (AAAA), replacing those
// it has. It panics if one is not an IP address.
func (d *DNS) SetHost(name string, ips ...string) {
	var hosts []netip.Addr
	for _, ip := range ips {
		hosts = append(hosts, must(netip.ParseAddr(ip)).Unmap())
	}
	d.zone.Change(name, func(r *dns.Records) { r.Hosts = hosts })
}

// Remove removes all records of a name, which then no longer exists.
func (d *DNS) Remove(name string) {
	d.zone.Change(name, func(r *dns.Records) { *r = dns.Records{} })
}

// AnswerOneHop makes a lookup of a CNAME return the next name and not the last,
// and answers all other questions without following aliases, as simple resolvers
// and servers that do not recurse do.
func (d *DNS) AnswerOneHop(on bool) { d.zone.AnswerOneHop(on) }

// Fail sets what goes wrong with questions for a name from now on, replacing what
// did before; of several faults, the first that matches a question happens. Without
// faults the name is good again. The targets of aliases have faults of their own.
func (d *DNS) Fail(name string, faults ...*DNSFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[dns.Key(name)] = slices.Clone(faults)
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
		if q.Name == dns.Key(name) {
			list = append(list, q)
		}
	}
	return list
}

// ask answers a question, with what goes wrong on demand. It reports false if
// there is no answer before ctx ends.
func (d *DNS) ask(ctx context.Context, name string, t DNSType) (dns.Answer, bool) {
	f := d.meet(dns.Key(name), t)
	if f.Hang {
		<-ctx.Done()
		return dns.Answer{}, false
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return dns.Answer{}, false
		}
	}
	switch f.Code {
	case ServFail:
		return dns.Answer{Code: dnsmessage.RCodeServerFailure}, true
	case NXDomain:
		return dns.Answer{Code: dnsmessage.RCodeNameError}, true
	case Refused:
		return dns.Answer{Code: dnsmessage.RCodeRefused}, true
	}
	return d.zone.Answer(name, string(t)), true
}

// meet keeps the question, and returns the fault that it meets, never nil.
func (d *DNS) meet(name string, t DNSType) *DNSFault {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := DNSQuery{Time: time.Now(), Name: name, Type: t}
	for _, f := range d.faults[name] {
		if (f.Type == "" || f.Type == t) && (f.Times == 0 || d.hits[f] < f.Times) {
			d.hits[f]++
			q.Fault = f
			break
		}
	}
	d.queries = append(d.queries, q)
	if q.Fault == nil {
		return &DNSFault{}
	}
	return q.Fault
}
