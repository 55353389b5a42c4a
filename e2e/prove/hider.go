package main

import (
	"net"
	"regexp"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// hider takes out of texts what is nobody's business.
type hider struct{ pairs []string }

// newHider hides an instance and an account.
func newHider(name string, a account) *hider {
	h := new(hider)
	h.add(name, "INSTANCE")
	if n, err := cloudsqlconn.ParseName(name); err == nil {
		h.add(n.Project()+":"+n.Instance(), "INSTANCE")
		h.add(n.Project(), "PROJECT")
		h.add(n.Instance(), "INSTANCE")
	}
	h.add(a.password, "PASSWORD")
	h.add(a.user, "USER")
	h.add(a.database, "DATABASE")
	return h
}

func (h *hider) add(text, name string) {
	if text != "" {
		h.pairs = append(h.pairs, text, name)
	}
}

// learn hides the address, or the host, of a step.
func (h *hider) learn(s cloudsqlconn.Step) {
	if host, _, err := net.SplitHostPort(s.Target); err == nil && s.Hop != cloudsqlconn.HopMetadata {
		h.add(host, "ADDRESS")
	}
}

// What can be told by its form.
var (
	addresses = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`)
	mails     = regexp.MustCompile(`[\w.+-]+@[\w-]+(\.[\w-]+)+`)
	dnsNames  = regexp.MustCompile(`[\w-]+(\.[\w-]+)*\.goog\b\.?`)
)

// hide returns text in one line of a table.
func (h *hider) hide(text string) string {
	text = mails.ReplaceAllString(text, "ACCOUNT")
	text = dnsNames.ReplaceAllString(text, "NAME")
	text = addresses.ReplaceAllString(text, "ADDRESS")
	text = strings.NewReplacer(h.pairs...).Replace(text)
	return strings.NewReplacer("\n", " ", "|", `\|`).Replace(text)
}
