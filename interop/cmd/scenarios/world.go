package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

const (
	oldInstance = "my-project:europe-west1:my-db"
	newInstance = "my-project:europe-west1:my-other-db"

	pause     = 100 * time.Millisecond // between the beginnings of two Dials
	patience  = 45 * time.Second       // for a working Dial
	warmLimit = time.Minute            // for the connection before
	overdue   = 5 * time.Second        // after which a Dial whose context has ended is given up
)

// dialLimit is for one Dial.
var dialLimit = 10 * time.Second

// arrangement begins the panics that say that a scenario itself is wrong, and
// not what it tests.
const arrangement = "scenario: "

// world is an emulated instance and a client that is to reach it. A connection
// counts if the instance answers on it.
type world struct {
	subject  subject
	settings settings
	kit      *cloudsqltest.Server
	emulated *cloudsqltest.EmulatedInstance
	goal     *cloudsqltest.EmulatedInstance // the instance that is to answer
	name     string                         // to dial
	database database
	peer     *clients.Peer  // that the client runs in, or nil
	target   clients.Target // for clients that are no Dialer
	resolver string         // the DNS server for those, or ""
	client   client
	claims   []net.PacketConn // of addresses that it has left
	fault    atomic.Pointer[func(*http.Request) *cloudsqltest.Fault]

	began  time.Time // from when on the result's time counts
	zero   time.Time // from when on the marks' times count
	over   time.Time // when the fault ended by itself; zero: it did not
	before int       // API calls before zero
	result result

	mu    sync.Mutex // guards addrs and dials
	addrs []string   // that were dialled over the emulated network
	dials []attempt  // since zero, in the order in which they ended
}

// runScenario runs a scenario with a subject, so many times if that is quick. An
// interpreter has connected to another instance before, so that nothing is
// measured that it does once.
func runScenario(s scenario, sub subject, db database, times int) (result, error) {
	var peer *clients.Peer
	if sub.peer != nil {
		var err error
		if peer, err = sub.peer(); err != nil {
			return result{}, err
		}
		first := newWorld(sub, settings{}, cloudsqltest.Instance{}, db, peer)
		first.warm()
		if err := first.close(); err != nil {
			return result{}, err
		}
	}
	var last *world
	return median(times, func() (result, error) {
		if last != nil {
			if err := last.close(); err != nil {
				return result{}, err
			}
		}
		last = newWorld(sub, s.settings, s.instance, db, peer)
		s.run(last)
		last.result.Marks = last.marks()
		return last.result, nil
	})
}

// close closes the client and the kit. After the last run the end of the process
// does that.
func (w *world) close() error {
	err := w.client.Close()
	w.kit.Close()
	return err
}

func newWorld(sub subject, set settings, cfg cloudsqltest.Instance, db database, peer *clients.Peer) *world {
	w := &world{subject: sub, settings: set, kit: cloudsqltest.NewServer(), name: oldInstance, database: db, peer: peer}
	w.kit.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
		if f := w.fault.Load(); f != nil {
			return (*f)(r)
		}
		return nil
	}
	if set.noExpiry { // one token for everything is what credentials in other languages have
		w.kit.SetTokens(w.kit.Token(), w.kit.Token())
	}
	w.emulated = w.add(oldInstance, cfg)
	w.goal = w.emulated
	if err := w.setTarget(); err != nil {
		panic(arrangement + err.Error())
	}
	return w
}

// setTarget tells clients that are no Dialer of the instance. They get their
// tokens from servers that their credentials name.
func (w *world) setTarget() error {
	tokens := authtest.NewServer(w.kit.Token(), w.kit.LoginToken())
	tokens.Tokens[authtest.AdminScope+" "+authtest.CloudScope] = w.kit.Token() // what Java asks for
	dir, err := os.MkdirTemp("", "scenario-*")
	if err != nil {
		return err
	}
	w.target = clients.Target{
		Endpoint:    w.kit.URL(),
		Instance:    w.name,
		Credentials: filepath.Join(dir, "credentials.json"),
		Account:     filepath.Join(dir, "account.json"),
		IAM:         w.settings.iam,
		Lazy:        w.settings.lazy,
		User:        databaseUser,
		Password:    databasePassword,
		Database:    databaseName,
	}
	if w.settings.iam {
		w.target.User, w.target.Password = databaseIAMUser, ""
	}
	return errors.Join(
		os.WriteFile(w.target.Credentials, tokens.ExternalAccount(""), 0o600),
		os.WriteFile(w.target.Account, tokens.ServiceAccount(), 0o600),
	)
}

// add adds an instance. It answers each byte with its name and a newline, or
// is a database.
func (w *world) add(name string, cfg cloudsqltest.Instance) *cloudsqltest.EmulatedInstance {
	cfg.ListenOn3307 = !w.settings.psc // not all clients have a dial function
	if w.subject.database {
		cfg.DatabaseVersion, cfg.Backend, cfg.IAMBackend = "POSTGRES_15", w.database.TCP, w.database.Socket
		return w.kit.AddInstance(name, cfg)
	}
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

// open makes the client.
func (w *world) open() {
	c, err := w.subject.open(context.Background(), w)
	if err != nil {
		panic(arrangement + "the client cannot be made: " + err.Error())
	}
	w.client = c
}

// dial is the emulated network.
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

// warm makes the client, if that is to do, and a connection with it.
func (w *world) warm() {
	if w.client == nil {
		w.open()
	}
	if err := w.connect(warmLimit); err != nil {
		panic(arrangement + "before the fault: " + err.Error())
	}
}

// begin begins to measure.
func (w *world) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = nil
	w.began, w.before = time.Now(), len(w.kit.Requests())
	w.zero = w.began
}

// faultOver begins to measure how long it takes after the fault. The calls during
// it count.
func (w *world) faultOver() {
	w.result = result{Error: w.result.Error}
	w.began = time.Now()
	w.over = w.began
}

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

// connect makes a connection that the right instance answers on.
func (w *world) connect(limit time.Duration) (err error) {
	began := time.Now()
	defer func() { w.note(attempt{began, time.Now(), err == nil}) }()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	before := w.goal.Counts().Handshakes
	answered := make(chan error, 1)
	go func() { answered <- w.client.Connect(ctx) }() // may never end; the process will
	select {
	case err = <-answered:
	case <-ctx.Done():
		select {
		case err = <-answered:
		case <-time.After(overdue):
			return fmt.Errorf("no answer within %s, and no error %v later", inWords(limit), overdue)
		}
	}
	if err == nil && w.goal.Counts().Handshakes == before {
		return errors.New("connected to the old instance")
	}
	return err
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

// recover connects, anew every pause, until the instance answers.
func (w *world) recover() { w.recoverWithin(dialLimit) }

// recoverWithin gives each attempt that time.
func (w *world) recoverWithin(limit time.Duration) {
	w.result.Until = true
	tick := time.NewTicker(pause)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		err := w.connect(limit)
		w.count(err)
		w.end()
		if err == nil || time.Now().After(deadline) {
			return
		}
		<-tick.C
	}
}

// series connects n times, anew every interval or when the attempt before ends.
func (w *world) series(n int, interval, limit time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range n {
		w.count(w.connect(limit))
		<-tick.C
	}
}
