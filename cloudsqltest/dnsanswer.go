package cloudsqltest

import (
	"context"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxAliases is how many aliases are followed for one question.
const maxAliases = 16

// maxString is the longest string in a TXT record.
const maxString = 255

// dnsAnswer is the answer to a question.
type dnsAnswer struct {
	code    dnsmessage.RCode
	aliases []string   // the targets of those that were followed, in order
	name    string     // the last of the names, in lower case and without a dot
	records dnsRecords // of that name
}

// ask answers a question, with what goes wrong on demand. It reports false if
// there is no answer before ctx ends.
func (d *DNS) ask(ctx context.Context, name string, t DNSType) (dnsAnswer, bool) {
	f := d.record(hostKey(name), t)
	if f.Hang {
		<-ctx.Done()
		return dnsAnswer{}, false
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return dnsAnswer{}, false
		}
	}
	switch f.Code {
	case ServFail:
		return dnsAnswer{code: dnsmessage.RCodeServerFailure}, true
	case NXDomain:
		return dnsAnswer{code: dnsmessage.RCodeNameError}, true
	case Refused:
		return dnsAnswer{code: dnsmessage.RCodeRefused}, true
	}
	return d.answer(hostKey(name), t), true
}

// record keeps the question and returns the fault that it meets, never nil.
func (d *DNS) record(name string, t DNSType) *DNSFault {
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

// answer is what the records say.
func (d *DNS) answer(name string, t DNSType) dnsAnswer {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := dnsAnswer{name: name}
	for range maxAliases {
		r := d.zone[a.name]
		if r == nil {
			if t != CNAME || len(a.aliases) == 0 {
				a.code = dnsmessage.RCodeNameError
			}
			return a
		}
		if r.cname == "" || d.oneHop || r.has(t) {
			a.records = *r
			return a
		}
		a.aliases = append(a.aliases, r.cname)
		a.name = hostKey(r.cname)
	}
	return dnsAnswer{code: dnsmessage.RCodeServerFailure}
}

// has reports whether the name has such records, beside being an alias.
func (r *dnsRecords) has(t DNSType) bool {
	switch t {
	case TXT:
		return len(r.txt) > 0
	case A, AAAA:
		return len(r.hosts) > 0
	}
	return false
}

// split returns text in strings that fit into a TXT record.
func split(text string) (parts []string) {
	for len(text) > maxString {
		parts = append(parts, text[:maxString])
		text = text[maxString:]
	}
	return append(parts, text)
}
