package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/race"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// place is an address.
type place struct {
	host string
	kind string // as in a reach.AddrError
	who  string // has it, for people
	node int    // of a read pool, from 1; 0: the instance itself
}

// places are an instance's own addresses of these types and those of a read
// pool's nodes, each once.
func places(info *admin.Info, types []string) (list []place) {
	add := func(addrs admin.Addrs, node int) {
		who := ""
		if node > 0 {
			who = fmt.Sprintf("node %d ", node)
		}
		for _, t := range types {
			for _, host := range reach.Hosts(addrs, []string{t}) {
				if !slices.ContainsFunc(list, func(p place) bool { return p.host == host }) {
					list = append(list, place{host, t, who + t, node})
				}
			}
		}
	}
	for i, node := range info.Nodes {
		add(node, i+1)
	}
	add(info.Addrs, 0)
	return list
}

// addresses takes the hops TCP, TLS and database for each address.
func (w *walk) addresses(ctx context.Context, m *admin.Metadata, info *admin.Info) {
	if m == nil {
		w.skip(HopTCP, "no metadata")
		w.skip(HopTLS, "no connection")
		w.skip(HopDatabase, "no TLS session")
		return
	}
	var list []place
	for _, host := range w.target.Hosts {
		list = append(list, place{host, w.target.Domain, "of the DNS name", 0})
	}
	for _, p := range places(m.Info, w.Types) {
		if !slices.Contains(w.target.Hosts, p.host) {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		w.step(ctx, HopTCP, "", func() (string, error) { return "", reach.NoAddress(m.Info, w.Types) })
		w.skip(HopTLS, "no connection")
		w.skip(HopDatabase, "no TLS session")
		return
	}
	for i, p := range list {
		w.address(ctx, p, len(list)-i, m, info)
	}
}

// address takes them for one address, of so many that are left.
func (w *walk) address(ctx context.Context, p place, left int, m *admin.Metadata, info *admin.Info) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, min(time.Until(deadline)/time.Duration(left), race.MaxShare), race.ErrShareUsed)
		defer cancel()
	}
	addr := net.JoinHostPort(p.host, reach.Port)
	var raw net.Conn
	fail := func(step string, err error) error {
		if err == nil {
			return nil
		}
		a := &reach.AddrError{Kind: p.kind, Addr: addr, Step: step, ClockOffset: m.ClockOffset, Err: failure.Ended(ctx, err)}
		a.Cut = failure.Over(ctx) && context.Cause(ctx) == race.ErrShareUsed
		return &reach.Error{Addrs: []*reach.AddrError{a}, Others: reach.OtherTypes(m.Info, w.Types)}
	}
	if !w.step(ctx, HopTCP, addr, func() (string, error) {
		found := p.who
		if w.Way.Proxy != nil {
			found += ", through the proxy " + w.Way.Proxy.String()
		}
		race := race.New(ctx, []string{addr}, 1, w.Way.Open) // it ends, whatever the function of WithDialFunc does
		defer race.Stop()
		try, _ := race.Next()
		raw = try.Conn
		return found, fail(reach.StepTCP, try.Err)
	}) {
		w.skip(HopTLS, "no connection")
		w.skip(HopDatabase, "no TLS session")
		return
	}
	defer func() { _ = raw.Close() }()
	if info == nil {
		w.skip(HopTLS, "no certificate")
		w.skip(HopDatabase, "no TLS session")
		return
	}
	config, verified := info.TLS(w.target.Domain, w.target.AnyName), new(tls.ConnectionState)
	if w.answered[p.node] {
		config, verified = verifyOnly(config)
	}
	conn := tls.Client(raw, config)
	if !w.step(ctx, HopTLS, addr, func() (string, error) {
		err := w.Signs.Handshake(ctx, conn)
		if errors.Is(err, errVerified) {
			return session(*verified), nil
		}
		if err != nil {
			return "", fail(reach.StepTLS, err)
		}
		return session(conn.ConnectionState()), nil
	}) {
		w.skip(HopDatabase, "no TLS session")
		return
	}
	ask := firstBytes(info.DatabaseVersion)
	if ask == nil {
		w.skip(HopDatabase, printable("this version does not know how to greet the engine "+cmp.Or(info.DatabaseVersion, "that the metadata does not name")))
		return
	}
	if w.answered[p.node] {
		w.skip(HopDatabase, "MySQL has answered at another address, and counts each connection without a login as an error")
		return
	}
	ok := w.step(ctx, HopDatabase, addr, func() (string, error) { return hear(ctx, conn, raw, ask) })
	w.answered[p.node] = ok && engine.Of(info.DatabaseVersion) == engine.MySQL
}

// errVerified ends a handshake that has led far enough.
var errVerified = errors.New("the server is verified")

// verifyOnly returns a copy of cfg, with which a handshake ends with errVerified
// once the server has proven who it is: the server-side proxy would connect to the
// database. The other result is the state of the connection then.
func verifyOnly(cfg *tls.Config) (*tls.Config, *tls.ConnectionState) {
	cfg, verify, state := cfg.Clone(), cfg.VerifyConnection, new(tls.ConnectionState)
	cfg.ClientSessionCache = nil // a session that is resumed needs no certificate
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		*state = s
		return verify(s)
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, errVerified }
	return cfg, state
}

// session is what a handshake has found.
func session(cs tls.ConnectionState) string {
	leaf := cs.PeerCertificates[0]
	names := leaf.DNSNames
	if leaf.Subject.CommonName != "" {
		names = append([]string{leaf.Subject.CommonName}, names...)
	}
	return fmt.Sprintf("%s, certificate of %s, %s", tls.VersionName(cs.Version), strings.Join(names, ", "), expires(leaf.NotAfter))
}
