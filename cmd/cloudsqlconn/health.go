package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/debug/cloudsqldebug"
)

// health answers probes about a proxy.
type health struct {
	dialer  *cloudsqlconn.Dialer
	metrics http.Handler
	quit    func()       // stops the proxy, as a signal does; nil: nobody may
	missing atomic.Int64 // instances that are not listened for, yet or at all
	stops   atomic.Bool  // no connection is accepted any more, or soon
}

// serve answers at address, and returns it, and what ends that.
func (h *health) serve(address place) (_ net.Addr, stop func(), _ error) {
	l, err := address.open("")
	if err != nil {
		return nil, nil, err
	}
	s := h.server(address.remote)
	go func() { _ = s.Serve(l) }()
	return l.Addr(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // for who is being answered
		defer cancel()
		_ = s.Shutdown(ctx)
		_ = s.Close()
	}, nil
}

// server returns what answers. Unless it is for other machines, it must be called by a
// name or an address of this one: a web page can give its own name our address, and
// would read the names of instances.
func (h *health) server(remote bool) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/startup", probe(h.startup))
	mux.HandleFunc("/readiness", probe(h.readiness))
	mux.HandleFunc("/liveness", probe(func() error { return nil }))
	mux.Handle("/metrics", h.metrics)
	mux.Handle("/{$}", cloudsqldebug.Handler(h.dialer))
	if h.quit != nil {
		mux.HandleFunc("POST /quitquitquit", h.quitFromHere)
	}
	var handler http.Handler = mux
	if !remote {
		handler = fromHere(mux)
	}
	const patience = 10 * time.Second
	return &http.Server{Handler: handler, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: time.Minute}
}

// fromHere answers what is asked of a host of this machine.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback((&url.URL{Host: r.Host}).Hostname()) {
			http.Error(w, "want a host such as 127.0.0.1, or -allow-remote", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// probe answers 200, or 503 with what is wrong.
func probe(look func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := look(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

// forwarded are headers of requests that something on this machine passes on, such
// as a service mesh's sidecar.
var forwarded = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"}

// quitFromHere stops the proxy for a client on this machine, or in this pod. A web
// page can make a browser send a POST as well, but not without an Origin.
func (h *health) quitFromHere(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	fromElsewhere := func(name string) bool { return r.Header.Values(name) != nil }
	if err != nil || !from.Addr().Unmap().IsLoopback() || fromElsewhere("Origin") || slices.ContainsFunc(forwarded, fromElsewhere) {
		http.Error(w, "want a program on this machine", http.StatusForbidden)
		return
	}
	fmt.Fprintln(w, "ok")
	h.quit()
}

// startup reports whether clients of all instances can connect.
func (h *health) startup() error {
	if n := h.missing.Load(); n > 0 {
		return fmt.Errorf("not listening for %d of the instances", n)
	}
	return nil
}

// readiness reports whether it makes sense to send clients.
func (h *health) readiness() error {
	if h.stops.Load() {
		return errors.New("stopping")
	}
	if err := h.startup(); err != nil {
		return err
	}
	for _, s := range h.dialer.Instances() {
		if s.LastError != nil && time.Now().After(s.Expiry) {
			return fmt.Errorf("no certificate for %s: %w", s.Name, s.LastError)
		}
	}
	return nil
}

// tellManager tells a service manager of systemd's kind, if there is one, how the
// program is: sd_notify(3).
func tellManager(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if strings.HasPrefix(name, "@") { // in the abstract name space
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
