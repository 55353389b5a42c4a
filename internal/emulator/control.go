package emulator

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// handler is the control endpoint: README.md describes it. It answers only to
// requests that name a loopback address as their host, unless it was allowed to
// be off loopback, and to none that a browser makes for another site's page.
func (e *emulator) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", e.servePage)
	mux.HandleFunc("GET /clients", e.serveClients)
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, e.requests()) })
	mux.HandleFunc("GET /streams", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, e.streams(0)) })
	mux.HandleFunc("POST /sql-data/{fault}", e.serveSQLDataFault)
	mux.HandleFunc("GET /instances", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, e.statuses()) })
	mux.HandleFunc("POST /instances", e.serveAdd)
	mux.HandleFunc("GET /instances/{name}", e.about(func(i *running, _ []byte) (any, error) { return i.status(), nil }))
	mux.HandleFunc("DELETE /instances/{name}", e.serveRemove)
	for path, change := range changes {
		mux.HandleFunc("POST /instances/{name}/"+path, e.about(func(i *running, body []byte) (any, error) { return change(e, i, body) }))
	}
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, e.faults()) })
	mux.HandleFunc("POST /faults", e.serveAddFault)
	mux.HandleFunc("DELETE /faults", e.serveRemoveFaults)
	mux.HandleFunc("DELETE /faults/{id}", e.serveRemoveFault)
	mux.HandleFunc("GET /computeMetadata/v1/{path...}", e.serveMetadata)
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		replyError(w, http.StatusForbidden, errors.New("a page of another site must not do this"))
	}))
	return e.logged(e.guard(flavoured(sameOrigin.Handler(explained(mux)))))
}

// newControlServer returns what answers there. A client has a minute to send a
// request; the answer can take longer, as a database may have to be started.
func newControlServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadTimeout: time.Minute, IdleTimeout: time.Minute}
}

// changes are what can be done to an instance. The body is empty, or an object.
var changes = map[string]func(e *emulator, i *running, body []byte) (any, error){
	"stop": func(_ *emulator, i *running, _ []byte) (any, error) { i.Stop(); return i.status(), nil },
	"start": func(_ *emulator, i *running, _ []byte) (any, error) {
		err := asError(i.Start)
		return i.status(), err
	},
	"rotate-server-ca": func(_ *emulator, i *running, _ []byte) (any, error) {
		i.RotateServerCA()
		return i.status(), nil
	},
	"rotate-client-ca": func(_ *emulator, i *running, _ []byte) (any, error) {
		i.RotateClientCA()
		return i.status(), nil
	},
	"cut": func(_ *emulator, i *running, body []byte) (any, error) {
		var what struct{ Reset bool }
		err := decodeOptional(body, &what)
		if err != nil {
			return nil, err
		}
		return map[string]int{"cut": i.CutConnections(what.Reset)}, nil
	},
	"addresses": func(e *emulator, i *running, body []byte) (any, error) {
		to := &addresses{}
		if err := decode(body, to); err != nil {
			return nil, err
		}
		if err := (&instance{Addresses: to, Backend: echo}).check(e); err != nil {
			return nil, err
		}
		err := i.move(to)
		return i.status(), err
	},
	"behavior": func(_ *emulator, i *running, body []byte) (any, error) {
		var what struct {
			Behavior    string
			Connections int
		}
		if err := decode(body, &what); err != nil {
			return nil, err
		}
		b, err := parseBehavior(what.Behavior)
		if err != nil {
			return nil, err
		}
		i.behave(b, max(what.Connections, 0))
		return i.status(), nil
	},
	"state": func(_ *emulator, i *running, body []byte) (any, error) {
		var what struct{ State string }
		if err := decode(body, &what); err != nil {
			return nil, err
		}
		err := i.enter(what.State)
		return i.status(), err
	},
	"server-certificate": func(_ *emulator, i *running, body []byte) (any, error) {
		var what struct{ Is string }
		if err := decode(body, &what); err != nil {
			return nil, err
		}
		err := i.alterServerCert(what.Is)
		return i.status(), err
	},
	"certificate-life": func(_ *emulator, i *running, body []byte) (any, error) {
		var what struct{ Life time.Duration }
		if err := decode(body, &what); err != nil {
			return nil, err
		}
		i.setCertTTL(what.Life)
		return i.status(), nil
	},
}

// check is complete, and what depends on the emulator.
func (i *instance) check(e *emulator) error {
	if key, err := i.complete(); err != nil {
		return errors.New(key + ": " + err.Error())
	}
	return e.checkAddresses(i.Addresses)
}

func decodeOptional(body []byte, v any) error {
	if len(body) == 0 {
		return nil
	}
	return decode(body, v)
}

// maxControlBody bounds what a request may send.
const maxControlBody = 1 << 20

// about serves what is about an instance.
func (e *emulator) about(do func(i *running, body []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		i := e.find(r.PathValue("name"))
		if i == nil {
			replyError(w, http.StatusNotFound, e.unknown(r.PathValue("name")))
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
		var answer any
		if err == nil {
			answer, err = do(i, body)
		}
		if err != nil {
			replyError(w, http.StatusBadRequest, err)
			return
		}
		reply(w, http.StatusOK, answer)
	}
}

func (e *emulator) serveRemove(w http.ResponseWriter, r *http.Request) {
	i := e.find(r.PathValue("name"))
	if i == nil {
		replyError(w, http.StatusNotFound, e.unknown(r.PathValue("name")))
		return
	}
	if err := e.remove(i); err != nil {
		replyError(w, http.StatusInternalServerError, err)
		return
	}
	reply(w, http.StatusOK, nil)
}

func (e *emulator) serveAdd(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	cfg := &instance{}
	if err == nil {
		err = decode(body, cfg)
	}
	if err == nil && cfg.Name == "" {
		err = errors.New("name: want project:region:instance")
	}
	if err == nil {
		err = cfg.check(e)
	}
	if err != nil {
		replyError(w, http.StatusBadRequest, err)
		return
	}
	i, err := e.add(r.Context(), cfg)
	switch {
	case errors.Is(err, errExists):
		replyError(w, http.StatusConflict, err)
	case err != nil:
		replyError(w, http.StatusUnprocessableEntity, err)
	default:
		reply(w, http.StatusCreated, i.status())
	}
}

func (e *emulator) serveAddFault(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	var rule cloudsqltest.Rule
	if err == nil {
		err = decode(body, &rule)
	}
	var id int
	if err == nil {
		id, err = e.addRule(rule)
	}
	if err != nil {
		replyError(w, http.StatusBadRequest, err)
		return
	}
	reply(w, http.StatusCreated, fault{id, rule.String(), 0})
}

func (e *emulator) serveRemoveFault(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || !e.removeRule(id) {
		replyError(w, http.StatusNotFound, errors.New("no such fault"))
		return
	}
	reply(w, http.StatusOK, nil)
}

func (e *emulator) serveRemoveFaults(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]int{"removed": e.removeRules()})
}

func (e *emulator) serveClients(w http.ResponseWriter, r *http.Request) {
	all, name := e.all(), r.URL.Query().Get("instance")
	if name != "" {
		all = slices.DeleteFunc(all, func(i *running) bool { return i.Name() != name })
	}
	if len(all) == 0 {
		replyError(w, http.StatusNotFound, e.unknown(name))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	e.tellClients(w, all[0])
}
