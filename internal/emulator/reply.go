package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
)

// guard keeps pages of the web from using the endpoint under a name of theirs.
func (e *emulator) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if !e.cfg.AllowRemote && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			replyError(w, http.StatusForbidden, errors.New("the host must be a loopback address"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// logged logs the requests that are to change something, and their status.
func (e *emulator) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		noted := &noted{w, http.StatusOK}
		next.ServeHTTP(noted, r)
		level := slog.LevelInfo
		if noted.status >= http.StatusBadRequest {
			level = slog.LevelWarn
		}
		e.log.Log(r.Context(), level, "control", "method", r.Method, "path", r.URL.Path, "status", noted.status, "client", r.RemoteAddr)
	})
}

// noted notes the status of an answer.
type noted struct {
	http.ResponseWriter
	status int
}

func (n *noted) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

// explained is the mux, with errors like those of its handlers.
func explained(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, pattern := mux.Handler(r); pattern == "" {
			h.ServeHTTP(&explanation{w, r}, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// explanation takes the place of what the mux says to a request that nothing
// handles.
type explanation struct {
	http.ResponseWriter
	r *http.Request
}

// WriteHeader answers in full.
func (x *explanation) WriteHeader(status int) {
	if status == http.StatusMethodNotAllowed {
		replyError(x.ResponseWriter, status, fmt.Errorf("%s is not for %s; want %s", x.r.Method, x.r.URL.Path, x.Header().Get("Allow")))
		return
	}
	replyError(x.ResponseWriter, status, fmt.Errorf("there is no %s; there are /, /clients, /requests, /faults, /instances, /instances/NAME, and below that %s",
		x.r.URL.Path, strings.Join(slices.Sorted(maps.Keys(changes)), ", ")))
}

// Write drops the text of the mux.
func (x *explanation) Write(b []byte) (int, error) { return len(b), nil }

// unknown says which instances there are.
func (e *emulator) unknown(name string) error {
	var names []string
	for _, i := range e.all() {
		names = append(names, i.Name())
	}
	if len(names) == 0 {
		return errors.New("there is no instance")
	}
	return fmt.Errorf("there is no instance %s; want %s", name, strings.Join(names, ", "))
}

// reply answers with JSON; nil is an empty object.
func reply(w http.ResponseWriter, status int, v any) {
	if v == nil {
		v = struct{}{}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v)
}

func replyError(w http.ResponseWriter, status int, err error) {
	reply(w, status, map[string]string{"error": err.Error()})
}
