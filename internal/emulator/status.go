package emulator

import (
	_ "embed"
	"html/template"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// status is an instance as the control endpoint shows it.
type status struct {
	Name      string            `json:"name"`
	Version   string            `json:"version"`
	Database  string            `json:"database"`
	Listening bool              `json:"listening"`
	SQLData   bool              `json:"sqlData"` // serves it, if it is on
	Addresses map[string]string `json:"addresses"`
	Nodes     []nodeStatus      `json:"nodes,omitempty"`
	Counts    counts            `json:"counts"`

	// What was switched on; empty if it is as by default.
	State             string `json:"state,omitempty"`
	Behavior          string `json:"behavior,omitempty"`
	Connections       int    `json:"connections,omitempty"` // that the behaviour is still for; 0: all
	ServerCertificate string `json:"serverCertificate,omitempty"`
	CertificateLife   string `json:"certificateLife,omitempty"`
}

type nodeStatus struct {
	Name      string            `json:"name"`
	Addresses map[string]string `json:"addresses"`
	Counts    counts            `json:"counts"`
}

// counts are those of the kit, by name, but for those that only the kit's own
// network can know.
type counts map[string]int

func newCounts(c cloudsqltest.Counts) counts {
	named := counts{}
	for field, n := range reflect.ValueOf(c).Fields() {
		named[strings.ToLower(field.Name)] = int(n.Int())
	}
	delete(named, "refused")
	delete(named, "swallowed")
	return named
}

func (i *running) status() status {
	s := status{Name: i.Name(), Version: i.db.version, Database: i.db.about, Listening: i.Addr() != nil, SQLData: *i.cfg.SQLData, Addresses: map[string]string{}, Counts: newCounts(i.Counts())}
	for t, host := range i.Addrs() {
		s.Addresses[t.String()] = host
	}
	for _, n := range i.Nodes() {
		one := nodeStatus{n.Name(), map[string]string{}, newCounts(n.Counts())}
		for t, host := range n.Addrs() {
			one.Addresses[t.String()] = host
		}
		s.Nodes = append(s.Nodes, one)
	}
	i.show(&s)
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
		"API": e.api.URL(), "Token": e.api.Token(), "LoginToken": e.api.LoginToken(), "Instances": e.statuses(), "SQLData": e.sqlData, "Streams": e.streams(shownRequests),
		"Faults":   e.faults(),
		"Requests": requests[:min(len(requests), shownRequests)],
	})
	if err != nil {
		e.log.Error("status page", "error", err)
	}
}
