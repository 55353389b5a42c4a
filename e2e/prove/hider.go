package main

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// hider takes out of texts what is nobody's business.
type hider struct{ words []word }

// word is a text that is replaced where it stands by itself, not within a word.
type word struct {
	text *regexp.Regexp
	name string
}

// newHider hides an instance, an account, and what the environment tells of either.
func newHider(instance string, a account) *hider {
	h := new(hider)
	h.add(instance, "INSTANCE")
	if n, err := cloudsqlconn.ParseName(instance); err == nil {
		h.add(n.Project()+":"+n.Instance(), "INSTANCE")
		h.add(n.Project(), "PROJECT")
		h.add(n.Instance(), "INSTANCE")
	}
	h.addUser(a.user)
	h.add(a.database, "DATABASE")
	h.add(a.password, "PASSWORD")
	if file := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); file != "" {
		h.add(filepath.Base(file), "FILE") // Google's are named after the project
	}
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		h.add(home, "~")
	}
	for _, proxy := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		if u, err := url.Parse(os.Getenv(proxy)); err == nil {
			h.add(u.Hostname(), "PROXY")
		}
	}
	return h
}

// inWord matches what letters to its left or right would make another word of.
var inWord = regexp.MustCompile(`^\w$`)

func (h *hider) add(text, name string) {
	if text == "" {
		return
	}
	pattern := regexp.QuoteMeta(text)
	if inWord.MatchString(text[:1]) {
		pattern = `\b` + pattern
	}
	if inWord.MatchString(text[len(text)-1:]) {
		pattern += `\b`
	}
	h.words = append(h.words, word{regexp.MustCompile(pattern), name})
}

// addUser hides a database user, and what MySQL makes of one with an e-mail address.
func (h *hider) addUser(user string) {
	h.add(user, "USER")
	short, _, _ := strings.Cut(user, "@")
	h.add(short, "USER")
}

// learn hides the address, or the host, of a step.
func (h *hider) learn(s cloudsqlconn.Step) {
	if host, _, err := net.SplitHostPort(s.Target); err == nil && s.Hop != cloudsqlconn.HopMetadata {
		h.add(host, "ADDRESS")
	}
}

// What can be told by its form.
var (
	addresses = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b|[[:xdigit:]]*:[[:xdigit:]:.]*:[[:xdigit:].]*`)
	mails     = regexp.MustCompile(`[\w.+-]+@[\w-]+(\.[\w-]+)+`)
	dnsNames  = regexp.MustCompile(`[\w-]+(\.[\w-]+)*\.goog\b\.?`)
	numbers   = regexp.MustCompile(`\b\d{9,}\b`) // of projects
)

// address hides what is one.
func address(text string) string {
	bare := strings.TrimRight(text, ".:")
	if _, err := netip.ParseAddr(bare); err != nil {
		return text // a time of day
	}
	return "ADDRESS" + text[len(bare):]
}

// hide returns text in one line of a table.
func (h *hider) hide(text string) string {
	text = mails.ReplaceAllString(text, "ACCOUNT")
	text = dnsNames.ReplaceAllString(text, "NAME")
	text = addresses.ReplaceAllStringFunc(text, address)
	for _, w := range h.words {
		text = w.text.ReplaceAllLiteralString(text, w.name)
	}
	text = numbers.ReplaceAllString(text, "NUMBER")
	return strings.NewReplacer("\n", " ", "|", `\|`).Replace(text)
}
