// Package cloudsqldebug shows what a Dialer knows about its instances, as a web
// page and as JSON:
//
//	mux.Handle("GET /debug/cloudsql", cloudsqldebug.Handler(dialer))
//
// The page holds no secrets, but it names instances, their addresses, and what
// went wrong with them: serve it where you would serve net/http/pprof, and not to
// strangers. Unlike that package, this one registers nothing on its own.
package cloudsqldebug

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// policy forbids the page everything but its own style, and its empty icon: it
// has no script and loads nothing.
const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// Handler returns a handler that shows the instances of d at the time of each
// request, whatever its path: as HTML, or as JSON with the query format=json or
// an Accept header that asks for application/json. It answers GET and HEAD. It
// makes no calls, and showing a Dialer does not change it. It may be used after d
// is closed, and then shows no instances.
func Handler(d *cloudsqlconn.Dialer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "want GET or HEAD", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Vary", "Accept")
		v := newView(d.Instances(), time.Now())
		var body bytes.Buffer
		if wantsJSON(r) {
			h.Set("Content-Type", "application/json")
			enc := json.NewEncoder(&body)
			enc.SetIndent("", "  ")
			_ = enc.Encode(v) // into memory, and of types that can be encoded
		} else {
			h.Set("Content-Type", "text/html; charset=utf-8")
			_ = page.Execute(&body, v) // likewise
		}
		h.Set("Content-Length", strconv.Itoa(body.Len()))
		_, _ = w.Write(body.Bytes()) // net/http leaves it out for HEAD
	})
}

// wantsJSON reports whether a request asks for JSON. Browsers do not.
func wantsJSON(r *http.Request) bool {
	if format := r.URL.Query().Get("format"); format != "" {
		return format == "json"
	}
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}
