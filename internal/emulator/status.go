package emulator

import (
	_ "embed"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// status is an instance as the control endpoint shows it.
type status struct {
	Name      string              `json:"name"`
	Version   string              `json:"version"`
	Database  string              `json:"database"`
	Listening bool                `json:"listening"`
	Addresses map[string]string   `json:"addresses"`
	Nodes     []nodeStatus        `json:"nodes,omitempty"`
	Counts    cloudsqltest.Counts `json:"counts"`
}

type nodeStatus struct {
	Name      string              `json:"name"`
	Addresses map[string]string   `json:"addresses"`
	Counts    cloudsqltest.Counts `json:"counts"`
}

func (i *running) status() status {
	s := status{Name: i.Name(), Version: i.db.version, Database: i.db.about, Listening: i.Addr() != nil, Addresses: map[string]string{}, Counts: i.Counts()}
	for t, host := range i.Addrs() {
		s.Addresses[t.String()] = host
	}
	for _, n := range i.Nodes() {
		one := nodeStatus{n.Name(), map[string]string{}, n.Counts()}
		for t, host := range n.Addrs() {
			one.Addresses[t.String()] = host
		}
		s.Nodes = append(s.Nodes, one)
	}
	return s
}

func (e *emulator) statuses() []status {
	list := []status{}
	for _, i := range e.all() {
		list = append(list, i.status())
	}
	return list
}

// fault is a rule as the control endpoint shows it.
type fault struct {
	ID   int    `json:"id"`
	Rule string `json:"rule"`
	Hits int    `json:"hits"`
}

func (e *emulator) faults() []fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []fault{}
	for _, id := range slices.Sorted(maps.Keys(e.rules)) {
		list = append(list, fault{id, e.rules[id].String(), e.rules[id].Hits()})
	}
	return list
}

// request is an Admin API request as the control endpoint shows it: without
// tokens and keys.
type request struct {
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	UserAgent string    `json:"userAgent"`
	Status    int       `json:"status"` // 0: no answer
	Fault     bool      `json:"fault"`
}

func (e *emulator) requests() []request {
	list := []request{}
	for _, r := range e.api.Requests() {
		list = append(list, request{r.Time, r.Method, r.Path, r.Header.Get("User-Agent"), r.Status, r.Fault != nil})
	}
	slices.Reverse(list) // newest first
	return list
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// shownRequests is how many requests the page has.
const shownRequests = 50

func (e *emulator) servePage(w http.ResponseWriter, _ *http.Request) {
	requests := e.requests()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	err := page.Execute(w, map[string]any{
		"API": e.api.URL(), "Token": e.api.Token(), "LoginToken": e.api.LoginToken(), "Instances": e.statuses(), "Faults": e.faults(),
		"Requests": requests[:min(len(requests), shownRequests)],
	})
	if err != nil {
		e.log.Error("status page", "error", err)
	}
}
