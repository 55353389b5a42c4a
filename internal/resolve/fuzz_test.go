package resolve_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
)

// scripted answers every question with the same records.
type scripted struct {
	texts []string
	cname string
	host  string
	err   error
}

func (s scripted) LookupTXT(context.Context, string) ([]string, error) { return s.texts, s.err }
func (s scripted) LookupCNAME(context.Context, string) (string, error) { return s.cname, s.err }
func (s scripted) LookupHost(context.Context, string) ([]string, error) {
	return []string{s.host}, s.err
}

// Whatever a caller and DNS say, the answer is an instance that a record names,
// or the error is one line of a bounded length.
func FuzzResolve(f *testing.F) {
	f.Add("db.example.com", one, "", "", "203.0.113.1", "")
	f.Add("DB.Example.com.", "x\ny", " "+one, "blue.example.com.", "::", "server misbehaving")
	f.Add(endpoint, "", "", "", "", "")
	f.Add("a.example.com", "", "", strings.ToUpper(endpoint)+".", "fe80::1%eth0", "")
	f.Add("b\u00fccher.example.com", "\xff", "a:b:c:d", "a b", "x", "\x00\n")
	f.Add("a.b.\u212A", "", "", "..", "", "")
	f.Fuzz(func(t *testing.T, domain, txt1, txt2, cname, host, problem string) {
		dns := scripted{texts: []string{txt1, txt2}, cname: cname, host: host}
		if problem != "" {
			dns.err = errors.New(problem)
		}
		asked := false
		r := resolve.New(resolve.Config{DNS: dns, Valid: valid, Instance: func(_ context.Context, region, name string) (string, error) {
			asked = true
			if region == "" || !strings.HasSuffix(name, ".goog.") || name != strings.ToLower(name) {
				t.Errorf("the API is asked for %q, %q", region, name)
			}
			return one, nil
		}})
		defer r.Close()
		a, err := r.Resolve(t.Context(), domain)
		switch {
		case err != nil:
			text := err.Error()
			if text == "" || len(text) > 2100 || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
				t.Errorf("%d bytes: %q", len(text), text)
			}
		case !valid(a.Instance) || !asked && a.Instance != txt1 && a.Instance != txt2:
			t.Errorf("%q leads to %q", domain, a.Instance)
		case len(a.Hosts) > 1 || len(a.Hosts) == 1 && a.Hosts[0] != host:
			t.Errorf("hosts are %q", a.Hosts)
		}
	})
}
