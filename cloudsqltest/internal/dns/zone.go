// Package dns has records of domain names, and a server that answers the
// questions of DNS clients. It knows nothing of faults, of what is kept of
// questions, or of Cloud SQL.
package dns

import (
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Zone has the records of any number of names, which match in any letter case,
// with or without a trailing dot. Its methods are safe for concurrent use.
type Zone struct {
	mu     sync.Mutex // guards everything below
	names  map[string]*Records
	oneHop bool
}

// Records are the records of one name.
type Records struct {
	TXT   [][]string // each record in its strings
	CNAME string     // with a trailing dot
	Hosts []netip.Addr
}

// Answer is the answer to a question.
type Answer struct {
	Code    dnsmessage.RCode
	Aliases []string // the targets of those that were followed, in order
	Name    string   // the last of the names, as [Key] has it
	Records Records  // of that name
}

// MaxString is the longest string in a TXT record, in bytes.
const MaxString = 255

// maxAliases is how many aliases are followed for one question.
const maxAliases = 16

// NewZone returns a zone without records.
func NewZone() *Zone { return &Zone{names: map[string]*Records{}} }

// Key is a name in the form that it is found by: in lower case, and without a
// trailing dot.
func Key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Change changes the records of a name, which does not exist if it has none.
func (z *Zone) Change(name string, change func(*Records)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	r := z.names[Key(name)]
	if r == nil {
		r = &Records{}
		z.names[Key(name)] = r
	}
	change(r)
	if len(r.TXT) == 0 && r.CNAME == "" && len(r.Hosts) == 0 {
		delete(z.names, Key(name))
	}
}

// AnswerOneHop makes answers follow no aliases.
func (z *Zone) AnswerOneHop(on bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.oneHop = on
}

// Answer is what the records say. The type of the question is by its name, such as
// TXT.
func (z *Zone) Answer(name, questionType string) Answer {
	z.mu.Lock()
	defer z.mu.Unlock()
	a := Answer{Name: Key(name)}
	for range maxAliases {
		r := z.names[a.Name]
		if r == nil {
			if questionType != "CNAME" || len(a.Aliases) == 0 {
				a.Code = dnsmessage.RCodeNameError
			}
			return a
		}
		if r.CNAME == "" || z.oneHop || r.has(questionType) {
			a.Records = *r
			return a
		}
		a.Aliases = append(a.Aliases, r.CNAME)
		a.Name = Key(r.CNAME)
	}
	return Answer{Code: dnsmessage.RCodeServerFailure}
}

// has reports whether the name has such records, beside being an alias.
func (r *Records) has(questionType string) bool {
	switch questionType {
	case "TXT":
		return len(r.TXT) > 0
	case "A", "AAAA":
		return len(r.Hosts) > 0
	}
	return false
}

// Split returns text in strings that fit into a TXT record.
func Split(text string) (parts []string) {
	for len(text) > MaxString {
		parts = append(parts, text[:MaxString])
		text = text[MaxString:]
	}
	return append(parts, text)
}
