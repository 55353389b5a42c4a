package resolve

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// maxDepth is how many CNAMEs are followed.
const maxDepth = 10

// route is where DNS leads: to an instance, or to the DNS name of one.
type route struct {
	instance        string
	region, dnsName string // if instance is empty
}

// walk asks for each name of a chain, in this order: is it the DNS name of an
// instance, has it a TXT record that names one, is it an alias. LookupCNAME may
// return the next name or the last. tell is told of a failure that a later
// answer may make up for.
func (r *Resolver) walk(ctx context.Context, domain string, tell func(error)) (route, error) {
	failure := &LookupError{Domain: domain}
	chain := []string{domain}
	for {
		name := chain[len(chain)-1]
		if region := instanceRegion(name); region != "" {
			return route{region: region, dnsName: name}, nil
		}
		texts, err := r.cfg.DNS.LookupTXT(ctx, r.question(name))
		slices.Sort(texts)
		if i := slices.IndexFunc(texts, r.cfg.Valid); i >= 0 {
			return route{instance: texts[i]}, nil
		}
		failure.addTXT(name, texts, err)
		if err != nil && !notFound(err) {
			tell(failure.clone())
		}

		next, err := r.cfg.DNS.LookupCNAME(ctx, r.question(name))
		target, nameErr := normalize(next)
		switch {
		case next == "" && err != nil:
			failure.add(err, "looking up the CNAME of %s: %s", name, shortError(err))
			return route{}, failure
		case next == "" || target == name:
			failure.add(nil, "%s has no CNAME", name)
			return route{}, failure
		case nameErr != nil:
			failure.add(nil, "%s is a CNAME for %s, which is not a domain name", name, shorten(next))
			return route{}, failure
		}
		failure.add(nil, "%s is a CNAME for %s", name, target)
		if slices.Contains(chain, target) {
			failure.add(nil, "the CNAMEs form a loop")
			return route{}, failure
		}
		if len(chain) > maxDepth {
			failure.add(nil, "there are more than %d CNAMEs", maxDepth)
			return route{}, failure
		}
		chain = append(chain, target)
	}
}

// question is a name as DNS is asked for it.
func (r *Resolver) question(name string) string {
	if r.absolute {
		return name + "."
	}
	return name
}

// addTXT tells what is wrong with the TXT records of a name. That there are no
// records may come as an error.
func (e *LookupError) addTXT(name string, texts []string, err error) {
	if len(texts) == 0 && err == nil {
		e.add(nil, "%s has no TXT record", name)
	}
	if len(texts) > 0 {
		const most = 5
		var shown []string
		for _, text := range texts[:min(len(texts), most)] {
			shown = append(shown, shorten(text))
		}
		more := ""
		if len(texts) > most {
			more = fmt.Sprintf(" and %d more", len(texts)-most)
		}
		e.add(nil, "no TXT record of %s is an instance connection name: %s%s", name, strings.Join(shown, ", "), more)
	}
	if err != nil {
		e.add(err, "looking up the TXT records of %s: %s", name, shortError(err))
	}
}
