package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// emulator is what runs: the Admin API, the instances with their databases, and
// the control endpoint.
type emulator struct {
	cfg      *config
	log      *slog.Logger
	embedded Embedded
	api      *cloudsqltest.Server
	control  *http.Server // nil if it is off
	page     string       // its URL
	sqlData  *sqlData     // nil if it is off
	failed   chan error   // of the control endpoint
	wg       sync.WaitGroup

	mu        sync.Mutex // guards everything below
	instances []*running
	pending   map[string]bool // names of instances that are being added
	rules     map[int]*cloudsqltest.ActiveRule
	lastRule  int
}

// running is an instance.
type running struct {
	*cloudsqltest.EmulatedInstance
	cfg *instance
	db  *database
	on  switches
}

// start starts everything, or nothing.
func start(ctx context.Context, cfg *config, log *slog.Logger, dbs Embedded) (_ *emulator, err error) {
	l, err := listen("-listen", cfg.Listen, cfg.AllowRemote)
	if err != nil {
		return nil, err
	}
	gate := newGate(l)
	e := &emulator{cfg: cfg, log: log, embedded: dbs, api: cloudsqltest.NewServerOn(gate), failed: make(chan error, 1),
		pending: map[string]bool{}, rules: map[int]*cloudsqltest.ActiveRule{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	e.api.Logger, e.api.Quota, e.api.MaxRequests, e.api.AllowAnyKey = log, *cfg.Quota, cfg.MaxRequests, cfg.AllowAnyKey
	e.api.SetTokens(cfg.Token, cfg.LoginToken)
	e.api.Principals = map[string]string{e.api.Token(): cfg.self(), e.api.LoginToken(): cfg.self()}
	for i, p := range cfg.Principals {
		if p.Token == "" {
			p.Token = randomToken()
			cfg.Principals[i] = p
		}
		e.api.Principals[p.Token] = p.Email
	}
	for _, r := range cfg.Faults {
		if _, err := e.addRule(r); err != nil {
			return nil, err
		}
	}
	for _, i := range cfg.Instances {
		if _, err := e.add(ctx, i); err != nil {
			return nil, fmt.Errorf("%s: %w", i.Name, err)
		}
	}
	if cfg.SQLData != none {
		if e.sqlData, err = serveSQLData(e.api, cfg); err != nil {
			return nil, err
		}
	}
	if cfg.Control != none {
		l, err := listen("-control", cfg.Control, cfg.AllowRemote)
		if err != nil {
			return nil, err
		}
		e.page = "http://" + l.Addr().String()
		e.control = newControlServer(e.handler())
		e.wg.Go(func() {
			if err := e.control.Serve(l); err != http.ErrServerClosed {
				e.failed <- err
			}
		})
	}
	gate.open()
	return e, nil
}

// Close ends everything, and waits for that.
func (e *emulator) Close() error {
	if e.control != nil {
		_ = e.control.Close()
	}
	e.wg.Wait()
	var errs []error
	for _, i := range e.all() {
		i.db.interrupt()
	}
	e.api.Close()
	if e.sqlData != nil {
		errs = append(errs, e.sqlData.forget())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range e.instances {
		errs = append(errs, i.db.Close())
	}
	e.instances = nil
	return errors.Join(errs...)
}

// all returns the instances by name.
func (e *emulator) all() []*running {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.Clone(e.instances)
	slices.SortFunc(list, func(a, b *running) int { return strings.Compare(a.Name(), b.Name()) })
	return list
}

// find returns an instance, or nil.
func (e *emulator) find(name string) *running {
	for _, i := range e.all() {
		if i.Name() == name {
			return i
		}
	}
	return nil
}

// errExists is wrapped by the error of adding an instance that is there.
var errExists = errors.New("the instance exists")

// add starts an instance, and the database that it may need. The configuration
// is complete.
func (e *emulator) add(ctx context.Context, cfg *instance) (*running, error) {
	name, err := cloudsqlconn.ParseName(cfg.Name)
	if err != nil {
		return nil, err
	}
	if err := e.checkAddresses(cfg.Addresses); err != nil {
		return nil, err
	}
	key := name.Project() + ":" + name.Instance() // whatever the region
	if !e.claim(key) {
		return nil, errExists
	}
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.pending, key)
	}()
	db, err := e.openDatabase(ctx, cfg)
	if err != nil {
		return nil, err
	}
	i := &running{cfg: cfg, db: db, on: switches{serverCert: cfg.ServerCertificate, certTTL: cfg.CertificateLife}}
	err = asError(func() { i.EmulatedInstance = e.api.AddInstance(cfg.Name, e.emulated(cfg, db)) })
	if err == nil {
		err = i.move(cfg.Addresses)
		if err != nil {
			e.api.DeleteInstance(i.EmulatedInstance)
		}
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	behavior, _ := parseBehavior(cfg.Behavior)
	i.behave(behavior, 0)
	e.mu.Lock()
	e.instances = append(e.instances, i)
	e.mu.Unlock()
	return i, nil
}

// claim keeps others from adding the same instance at the same time.
func (e *emulator) claim(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := e.pending[key] || slices.ContainsFunc(e.instances, func(i *running) bool {
		n, _ := cloudsqlconn.ParseName(i.Name())
		return n.Project()+":"+n.Instance() == key
	})
	if taken {
		return false
	}
	e.pending[key] = true
	return true
}

// checkAddresses refuses addresses off loopback unless they are allowed.
func (e *emulator) checkAddresses(a *addresses) error {
	for _, host := range []string{a.Public, a.Private} {
		if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() && !e.cfg.AllowRemote {
			return fmt.Errorf("address %s is not on loopback; -allow-remote allows that", host)
		}
	}
	return nil
}

// emulated is what the kit makes of an instance.
func (e *emulator) emulated(cfg *instance, db *database) cloudsqltest.Instance {
	alter, _ := alteration(cfg.ServerCertificate)
	exchange, _ := parseExchange(cfg.MetadataExchange)
	return cloudsqltest.Instance{
		DatabaseVersion: db.version, Backend: db.backend, IAMBackend: db.iamBackend, Handler: db.serve, ListenOn3307: true,
		CAMode: cloudsqltest.CAMode(cfg.CAMode), DNSNames: cfg.DNSNames, Nodes: make([]cloudsqltest.Node, cfg.Nodes),
		CertTTL: cfg.CertificateLife, ClockSkew: cfg.ClockSkew, AlterServerCert: alter, IAMUsers: cfg.IAMUsers, AnyIAMUser: e.cfg.anyIAMUser(cfg),
		NoSessionTickets: cfg.NoSessionTickets, MetadataExchange: exchange, SQLData: *cfg.SQLData,
	}
}

// move gives the instance those addresses; auto is one that it has, or had when
// it was made.
func (i *running) move(to *addresses) error {
	have, want := i.Addrs(), map[cloudsqlconn.IPType]string{}
	for t, host := range map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: to.Public, cloudsqlconn.PrivateIP: to.Private, cloudsqlconn.PSC: to.PSC} {
		if host == auto {
			host = have[t]
			if host == "" {
				return fmt.Errorf("the instance has no %s address to keep: name one", t)
			}
		}
		if host != "" {
			want[t] = host
		}
	}
	return asError(func() { i.SetAddrs(want) })
}

// remove ends an instance and its database.
func (e *emulator) remove(i *running) error {
	i.db.interrupt()
	e.api.DeleteInstance(i.EmulatedInstance)
	e.mu.Lock()
	before := len(e.instances)
	e.instances = slices.DeleteFunc(e.instances, func(j *running) bool { return i == j })
	gone := len(e.instances) == before
	e.mu.Unlock()
	if gone {
		return nil // somebody else's call, or Close, ends the database
	}
	return i.db.Close()
}

// addRule returns the number by which the rule can be removed.
func (e *emulator) addRule(r cloudsqltest.Rule) (int, error) {
	active, err := e.api.AddRule(r)
	if err != nil {
		return 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastRule++
	e.rules[e.lastRule] = active
	return e.lastRule, nil
}

func (e *emulator) removeRule(number int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	active := e.rules[number]
	if active == nil {
		return false
	}
	active.Remove()
	delete(e.rules, number)
	return true
}

// removeRules returns how many there were.
func (e *emulator) removeRules() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.rules)
	for _, active := range e.rules {
		active.Remove()
	}
	clear(e.rules)
	return n
}

// asError makes an error of the kit's panic about what it was told to do: a
// test would want that, a user of this program does not.
func asError(do func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case string:
			err = errors.New(strings.TrimPrefix(r, "cloudsqltest: "))
		default:
			panic(r)
		}
	}()
	do()
	return nil
}
