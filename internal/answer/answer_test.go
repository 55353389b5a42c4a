package answer_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
)

func TestIsRefusal(t *testing.T) {
	for body, want := range map[string]bool{
		`{"error":{"code":403,"message":"no"}}`: true,
		`{"error":"invalid_grant"}`:             true,
		`{"error":{}}`:                          true,
		`{"error":null}`:                        false,
		`{"error":403}`:                         false,
		`{"message":"Forbidden"}`:               false,
		`"error"`:                               false,
		`[]`:                                    false,
		`[{"error":{"code":403}}]`:              true,
		`[{"error":null}]`:                      false,
		`[null]`:                                false,
		``:                                      false,
		`<html></html>`:                         false,
	} {
		if got := answer.IsRefusal([]byte(body)); got != want {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	for _, tt := range []struct {
		code         int
		server, body string
		want         string
	}{
		{403, "squid/6.6", "<html><head><title>ERROR: not\n retrieved</title><style>p{padding:1px}</style>", `403 Forbidden by squid/6.6, with a web page "ERROR: not retrieved"`},
		{502, "", "<!DOCTYPE html>\n<h1>Bad <b>gate</b>way &amp; more</h1>", `502 Bad Gateway, with a web page "Bad gate way & more"`},
		{302, "", "<body>Sign in", `302 Found, with a web page without a title`},
		{503, "", "try again", `503 Service Unavailable, with the text "try again"`},
		{404, "", "\x00\x1b[31m \xff", `404 Not Found, with the text "[31m"`},
		{499, "", " ", `499, without content`},
	} {
		if got := answer.Summary(tt.code, http.Header{"Server": {tt.server}}, []byte(tt.body)); got != tt.want {
			t.Errorf("got %s\nwant %s", got, tt.want)
		}
	}
}

func TestSummaryOfARedirect(t *testing.T) {
	for location, want := range map[string]string{
		"https://portal.example.com/login?token=s3cret": `302 Found to https://portal.example.com, without content`,
		"/login":   `302 Found, without content`,
		"http://%": `302 Found, without content`,
	} {
		if got := answer.Summary(http.StatusFound, http.Header{"Location": {location}}, nil); got != want {
			t.Errorf("%s: got %s\nwant %s", location, got, want)
		}
	}
}

func TestSummaryIsShort(t *testing.T) {
	long := strings.Repeat("é", 5000)
	for _, body := range []string{long, "<html><title>" + long + "</title>", "<html>" + long} {
		if got := answer.Summary(500, http.Header{"Server": {long}, "Location": {"https://" + long}}, []byte(body)); len(got) > 300 {
			t.Errorf("%d bytes: %s", len(got), got)
		}
	}
}
