package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

const (
	oldInstance = "my-project:europe-west1:my-db"
	newInstance = "my-project:europe-west1:my-other-db"

	pause    = 100 * time.Millisecond // between the beginnings of two Dials
	patience = 45 * time.Second       // for a working Dial
	overdue  = 5 * time.Second        // after which a Dial whose context has ended is given up
)

// dialLimit is for one Dial.
var dialLimit = 10 * time.Second

// arrangement begins the panics that say that a scenario itself is wrong, and
// not what it tests.
const arrangement = "scenario: "

// world is an emulated instance and a Dialer that is to reach it. A connection
// counts if the instance answers on it.
type world struct {
	subject  subject
	settings settings
	kit      *cloudsqltest.Server
	proxy    *cloudsqltest.Proxy
	key      *rsa.PrivateKey // of the client
	name     string          // to dial
	dialer   dialer
	fault    atomic.Pointer[func(*http.Request) *cloudsqltest.Fault]

	began  time.Time
	before int // API calls before that
	result result

	mu    sync.Mutex // guards addrs
	addrs []string   // that were dialled
}

// runScenario runs a scenario with a subject. It does not tidy up: the process
// ends.
func runScenario(s scenario, sub subject) result {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(arrangement + err.Error())
	}
	w := &world{subject: sub, settings: s.settings, kit: cloudsqltest.NewServer(), key: key, name: oldInstance}
	w.kit.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
		if f := w.fault.Load(); f != nil {
			return (*f)(r)
		}
		return nil
	}
	w.proxy = w.add(oldInstance, s.instance)
	s.run(w)
	return w.result
}

// add adds an instance that answers each byte with its name and a newline.
func (w *world) add(name string, cfg cloudsqltest.Instance) *cloudsqltest.Proxy {
	cfg.Handler = func(c net.Conn) {
		var b [1]byte
		for {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
			if _, err := fmt.Fprintln(c, name); err != nil {
				return
			}
		}
	}
	return w.kit.AddInstance(name, cfg)
}

// open makes the Dialer.
func (w *world) open() {
	d, err := w.subject.open(context.Background(), w)
	if err != nil {
		panic(arrangement + "NewDialer: " + err.Error())
	}
	w.dialer = d
}

// dial is the network.
func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.addrs = append(w.addrs, addr)
	w.mu.Unlock()
	return w.kit.DialContext(ctx, network, addr)
}

// dialled reports whether a host was dialled.
func (w *world) dialled(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, addr := range w.addrs {
		if strings.HasPrefix(addr, host+":") {
			return true
		}
	}
	return false
}

// warm makes the Dialer, if that is to do, and a connection with it.
func (w *world) warm() {
	if w.dialer == nil {
		w.open()
	}
	if _, err := w.connect(dialLimit); err != nil {
		panic(arrangement + "before the fault: " + err.Error())
	}
}

// begin begins to measure.
func (w *world) begin() { w.began, w.before = time.Now(), len(w.kit.Requests()) }

// end ends the measurement.
func (w *world) end() {
	w.result.Time = time.Since(w.began)
	w.result.Calls = len(w.kit.Requests()) - w.before
}

// api makes requests go wrong from now on.
func (w *world) api(f func(*http.Request) *cloudsqltest.Fault) { w.fault.Store(&f) }

// apiCall makes requests of one kind go wrong.
func (w *world) apiCall(call string, f *cloudsqltest.Fault) {
	w.api(func(r *http.Request) *cloudsqltest.Fault {
		if strings.HasSuffix(r.URL.Path, call) {
			return f
		}
		return nil
	})
}

// must checks that a fault did happen, of which the instance may hear a little
// later than the client.
func (w *world) must(what string, happened func() bool) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(overdue); !happened(); <-tick.C {
		if time.Now().After(deadline) {
			panic(arrangement + "it did not happen: " + what)
		}
	}
}

// connect dials, has the instance answer, and returns its name.
func (w *world) connect(limit time.Duration) (instance string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return w.connectWith(ctx)
}

func (w *world) connectWith(ctx context.Context) (instance string, err error) {
	type answer struct {
		instance string
		err      error
	}
	answered := make(chan answer, 1)
	go func() { // may never end, if Dial does not; the process will
		instance, err := w.exchange(ctx)
		answered <- answer{instance, err}
	}()
	select {
	case a := <-answered:
		return a.instance, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answered:
		return a.instance, a.err
	case <-time.After(overdue):
		return "", fmt.Errorf("Dial has not returned %v after its context ended", overdue)
	}
}

func (w *world) exchange(ctx context.Context) (instance string, err error) {
	c, err := w.dialer.Dial(ctx, w.name)
	if err != nil {
		return "", err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte{'?'}); err != nil {
		return "", err
	}
	_, err = fmt.Fscanln(c, &instance)
	return instance, err
}

// count adds the outcome of a Dial to the result.
func (w *world) count(err error) {
	w.result.Dials++
	if err != nil {
		w.result.Failed++
		if w.result.Error == "" {
			w.result.Error = err.Error()
		}
	}
}

// recover dials, a new Dial every pause, until one reaches the instance.
func (w *world) recover(instance string) { w.recoverWithin(instance, dialLimit) }

// recoverWithin gives each Dial that time.
func (w *world) recoverWithin(instance string, limit time.Duration) {
	w.result.Until = true
	tick := time.NewTicker(pause)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		got, err := w.connect(limit)
		if err == nil && got != instance {
			err = fmt.Errorf("connected to %s", got)
		}
		w.count(err)
		w.end()
		if err == nil || time.Now().After(deadline) {
			return
		}
		<-tick.C
	}
}

// series dials n times, a new Dial every interval or when the one before ends.
func (w *world) series(n int, interval, limit time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range n {
		_, err := w.connect(limit)
		w.count(err)
		<-tick.C
	}
}
