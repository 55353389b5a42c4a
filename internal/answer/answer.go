// Package answer tells the answers of Google's servers from those of something
// else that answers in their place: a filtering proxy, a captive portal, a front
// end whose service is down. It knows nothing of who has asked, and what for.
package answer

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// IsRefusal reports whether body is how Google's servers refuse: an object with
// "error" in it, which is a text at token endpoints, and an object at APIs. Some
// front ends answer with a list of one.
func IsRefusal(body []byte) bool {
	type refusal struct {
		Error json.RawMessage `json:"error"`
	}
	list := make([]refusal, 1)
	if json.Unmarshal(body, &list[0]) != nil && (json.Unmarshal(body, &list) != nil || len(list) == 0) {
		return false
	}
	said := list[0].Error
	return len(said) > 0 && (said[0] == '"' || said[0] == '{')
}

const (
	maxTitle = 120 // bytes of a title, or of a text, that are told
	maxTag   = 40  // of the header Server
	maxHost  = 120 // of where a redirect leads
)

var (
	pageForm = regexp.MustCompile(`(?i)^\s*(<!doctype html|<html|<head|<body|<!--)`)
	titles   = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	heads    = regexp.MustCompile(`(?is)<h1[^>]*>(.*?)</h1>`)
	markups  = regexp.MustCompile(`(?s)<[^>]*>`)
)

// IsPage reports whether body is a web page.
func IsPage(body []byte) bool { return pageForm.Match(body) }

// Summary tells in one short line what has been answered: the status, what names
// itself as the server, where else to look says a redirect, and the title of a web
// page or the beginning of any other text.
func Summary(code int, header http.Header, body []byte) string {
	status := fmt.Sprintf("%d %s", code, http.StatusText(code))
	if by := OneLine(header.Get("Server"), maxTag); by != "" {
		status += " by " + by
	}
	if to, err := url.Parse(header.Get("Location")); err == nil && code/100 == 3 && to.Host != "" {
		status += " to " + OneLine(to.Scheme+"://"+to.Host, maxHost)
	}
	return strings.TrimSpace(status) + Content(body)
}

// Content is what Summary tells of a body.
func Content(body []byte) string {
	text, kind := string(body), "the text"
	if IsPage(body) {
		kind = "a web page"
		found := titles.FindStringSubmatch(text)
		if found == nil {
			found = heads.FindStringSubmatch(text)
		}
		if found == nil {
			return ", with a web page without a title"
		}
		text = html.UnescapeString(markups.ReplaceAllString(found[1], " "))
	}
	if text = OneLine(text, maxTitle); text == "" {
		return ", without content"
	}
	return fmt.Sprintf(", with %s %q", kind, text)
}
