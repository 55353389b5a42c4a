package cloudsqlconn

import (
	"cmp"
	"context"
	"net"
	"slices"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// dialConfig is all that a Dial can be told.
type dialConfig struct {
	iam       bool
	types     []string // of address: the texts of IPTypes
	sqlData   SQLDataMode
	carrier   carrier   // nil: TCP to an address
	same      *location // where to go; nil: anywhere
	tcp       reach.Way
	dialID    *DialFunc              // tells the options WithDialFunc apart; nil: there was none
	proxyFrom string                 // the option that has set proxy, of those that are being applied together
	proxyID   string                 // tells proxies apart
	exchange  exchange               // of metadata, with instances that want it
	protocol  mdx.ClientProtocolType // that it tells
	timeout   time.Duration
	relogin   bool     // IAM logins to PostgreSQL are repeated
	errs      mistakes // about options that cannot even be stored
}

// DialFunc opens the TCP connection to an instance, or to a proxy, as
// [net.Dialer.DialContext] does. It is called from several goroutines at once, even
// by one Dial: see [WithIPTypes]. It should return soon after ctx ends; a Dial does
// not wait for one that does not, which occupies a goroutine until it returns.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// with returns d with opts applied.
func (d dialConfig) with(opts []DialOption) (dialConfig, error) {
	if len(opts) == 0 {
		return d, nil
	}
	d.proxyFrom = ""
	DialOptions(opts...).applyDial(&d)
	return d, asConfigError(d.mistakes())
}

// setProxy stores the proxy of an option, or what is wrong with it.
func (d *dialConfig) setProxy(option, id string, p *netdial.Proxy, err error) {
	d.errs.note(d.proxyFrom != "" && d.proxyFrom != option, "WithProxy and WithProxyFromEnvironment: want one of them")
	d.errs.note(err != nil, "%s: %w", option, err)
	d.tcp.Proxy, d.proxyFrom, d.proxyID = p, option, id
}

func (d *dialConfig) mistakes() mistakes {
	errs := d.errs
	errs.note(len(d.types) == 0, "WithIPTypes: want at least one type")
	for _, t := range d.types {
		if !IPType(t).valid() {
			errs.note(true, "WithIPTypes: unknown type %s; want one of %v", failure.Quote(t), admin.AddressTypes)
		}
	}
	errs.note(d.tcp.Dial == nil, "WithDialFunc: the function is nil")
	if d.timeout < 0 {
		errs.note(true, "WithDialTimeout: want 0 or more, got %v", d.timeout)
	}
	if !d.sqlData.valid() {
		errs.note(true, "WithSQLData: unknown mode %s; want NEVER, PREFER or ONLY", failure.Quote(string(d.sqlData)))
	}
	return errs
}

// CheckDialOptions returns the error of a Dial with opts that nothing can be done
// about but to write them differently: ErrConfig. Driver packages call it, so that
// their constructors fail, and not the first query.
func (d *Dialer) CheckDialOptions(opts ...DialOption) error {
	dc, err := d.cfg.dial.with(opts)
	if err == nil {
		err = asConfigError(d.cfg.caller.Mistakes(dc.iam && dc.sqlData != SQLDataOnly, dc.carrier != nil))
	}
	return err
}

// WithIAMAuthN says whether to log in to the database with the caller's IAM
// identity. Default: false, the database asks for a password.
//
// The account needs the role Cloud SQL Instance User besides Cloud SQL Client, and a
// database user of its own (`gcloud sql users create` with a type that begins with
// cloud_iam); the instance needs a database flag, set to on:
//
//	engine      database user                                  flag
//	PostgreSQL  the e-mail address, me@example.com; of         cloudsql.iam_authentication
//	            service accounts app@my-project.iam, without
//	            .gserviceaccount.com
//	MySQL       what is before the @ of the address: me, app   cloudsql_iam_authentication
//	SQL Server  none: a Dial fails with ErrConfig
//
// The packages under driver/ take the whole e-mail address for any engine, and with no
// user the service account of the credentials; elsewhere [FormatIAMUser] makes the form.
func WithIAMAuthN(on bool) DialOption {
	return dialOption(func(d *dialConfig) { d.iam = on })
}

// WithPublicIP connects to the instance's public address only.
func WithPublicIP() DialOption { return WithIPTypes(PublicIP) }

// WithPrivateIP connects to the instance's private address only.
func WithPrivateIP() DialOption { return WithIPTypes(PrivateIP) }

// WithPSC connects to the instance's Private Service Connect endpoint only.
func WithPSC() DialOption { return WithIPTypes(PSC) }

// WithAutoIP tries the public, then the private, then the PSC address,
// whichever the instance has, as [WithIPTypes] says. This is the default.
func WithAutoIP() DialOption {
	return dialOption(func(d *dialConfig) { d.types = admin.AddressTypes })
}

// WithIPTypes tries the instance's addresses of these types, in this order.
//
// The next address is tried when the one before has failed, or in parallel with it
// when it has not answered for 250 ms (RFC 8305; less for a Dial with little time).
// TLS is spoken on the first connection to open; another address is used only if
// that fails, or if it has used up its share of the time, 5 s at most, while there
// are addresses that have not been tried. An address that has not answered comes
// last for the next ten minutes, or until the instance gets other addresses or
// another server CA, and so does one where something other than the instance was
// found. For a read pool, each Dial begins with a different node, and the pool's own
// addresses come after the nodes; a node that refuses connections comes last for 30
// seconds.
func WithIPTypes(types ...IPType) DialOption {
	texts := make([]string, len(types))
	for i, t := range types {
		texts[i] = string(t)
	}
	return dialOption(func(d *dialConfig) { d.types = texts })
}

// WithDialFunc sets the function that opens TCP connections to instances. The
// connections need not support deadlines, which those through an SSH client lack:
// when the deadline of a waiting Read or Write passes, the connection is closed.
// Default: a net.Dialer that tries the addresses of a DNS name as [WithIPTypes]
// says.
func WithDialFunc(f DialFunc) DialOption {
	return dialOption(func(d *dialConfig) { d.tcp.Dial, d.tcp.Foreign, d.dialID = netdial.Func(f), true, &f })
}

// WithProxy connects to instances through a proxy: socks5://host:port,
// http://host:port (the method CONNECT) or https://host:port (CONNECT, with TLS
// to the proxy, whose certificate this machine must trust). socks5h is the same
// as socks5: the proxy looks up names. The default ports are 1080, 80 and 443.
// A user:password@ in the URL, percent-encoded, is sent to the proxy and never
// appears in an error.
//
// The connection to the proxy is opened with the function of [WithDialFunc].
// Admin API calls do not use it: see [WithHTTPClient]. Default: no
// proxy, whatever the environment says.
func WithProxy(url string) DialOption {
	return dialOption(func(d *dialConfig) {
		p, err := netdial.ParseProxy(url)
		d.setProxy("WithProxy", url, p, err)
	})
}

// WithProxyFromEnvironment is [WithProxy] with the URL in the environment
// variable all_proxy or else ALL_PROXY, except for the addresses listed in
// no_proxy or else NO_PROXY and for those of this machine. The list has the
// form that net/http reads: hosts, domains, IP addresses and networks separated
// by commas. Without the variable there is no proxy. The environment is read at
// the start of NewDialer, or of the Dial that the option is given to.
func WithProxyFromEnvironment() DialOption {
	return dialOption(func(d *dialConfig) {
		p, err := netdial.FromEnvironment()
		id := ""
		if p != nil {
			id = "environment " + p.String()
		}
		d.setProxy("WithProxyFromEnvironment", id, p, err)
	})
}

// WithTCPKeepAlive sets how soon a dead peer, the instance or the proxy, is
// noticed. After d without traffic, and every d from then on, TCP sends a
// keep-alive probe; three without an answer break the connection, 4×d after the
// peer was last heard from. On Linux, sent data that stays unacknowledged for 4×d
// breaks it too (TCP_USER_TIMEOUT), instead of some 15 minutes later.
//
// Default, and with 0: 30 s, hence two minutes. Negative: no probes, and the
// system's own limits. d is rounded up to seconds; more than 9 hours count as
// about 9 hours. It applies to connections that are *net.TCPConn, or have its
// methods SetKeepAliveConfig and SyscallConn.
func WithTCPKeepAlive(d time.Duration) DialOption {
	return dialOption(func(c *dialConfig) { c.tcp.KeepAlive = cmp.Or(d, defaultKeepAlive) })
}

// WithMetadataExchange says whether to tell a MySQL instance that supports the
// exchange that the connection is encrypted up to the client. MySQL then takes the
// password of caching_sha2_password as it does over its own TLS, and hands out no
// RSA key: set it to true only for a MySQL client that knows that the server takes
// its connection for encrypted. Nothing is sent before the first Write. Default: the
// connections of driver/mysql and of [Dialer.Serve] make the exchange, others do
// not. Serve tells the instance what its listener is.
func WithMetadataExchange(on bool) DialOption {
	mode := exchangeNever
	if on {
		mode = exchangeAlways
	}
	return dialOption(func(d *dialConfig) { d.exchange = mode })
}

// exchange says which connections tell the instance about the client.
type exchange int

const (
	exchangeByDrivers exchange = iota // those of a driver package that asks for it
	exchangeNever
	exchangeAlways
)

// WithDialTimeout bounds a whole Dial, all hops together. An earlier deadline of
// the caller's context takes precedence. Default, and with 0: 30 s.
func WithDialTimeout(d time.Duration) DialOption {
	return dialOption(func(c *dialConfig) { c.timeout = cmp.Or(d, defaultDialTimeout) })
}

// WithSameHost dials the host that conn is on, a connection of the same Dialer or one
// around it, as for [InfoOf]: in a read pool, the same node. It is for whatever has to
// reach the same server process, such as PostgreSQL's request to cancel a query.
//
// The name passed to Dial has to be the one that conn was dialled with, or that
// of its instance ([ErrConfig] otherwise). It is not resolved again: even if a DNS
// name means another instance by now, the connection is to conn's instance. No other
// host is tried. conn may have been closed. If it is a stream of SQL Data, it has no
// host, and the option has no effect.
func WithSameHost(conn net.Conn) DialOption {
	return dialOption(func(d *dialConfig) {
		c, ok := unwrap(conn)
		d.errs.note(!ok, "WithSameHost: want a connection that Dial has returned, got a %T", conn)
		if ok {
			d.same = c.location()
		}
	})
}

// WithLoginAfterRefresh says whether IAM logins to PostgreSQL are repeated, each over
// a short connection of its own, when there is a new login token. Managed connection
// pooling keeps the token that it has seen last for a user and a database. When that
// has expired it refuses the next login, of this program or of another, with SQLSTATE
// 08P01. Whether an instance pools is not in its metadata. Default: true.
//
// Logins of driver/postgres that went well are repeated, and those of the clients of
// [Dialer.Serve], if the user is an e-mail address, as IAM's are; not those over
// connections that the program dials by itself, such as for lib/pq, nor those through
// SQL Data. It happens a few minutes before the token expires that the program has
// last logged in with as this user to this database, which for most tokens is an hour
// after they were issued: a program that logs in often enough has no logins repeated.
// To a read pool, logins are repeated for each node.
//
// A login is repeated for as long as a connection is open that began with it, and for
// 72 hours after that. It is forgotten when the database refuses the user or does not
// have the database, when the DNS name that was dialled leads to another instance, and
// when the node of a read pool is gone. No more than 100 are remembered for an
// instance: newer ones take the place of those that have been unused for the longest
// time. A Dialer with more than 64 instances forgets those of an instance that it has
// not connected to for 3 hours. A login that fails for other reasons, or is not
// answered within 10 s, is tried again after 30 s, or once as much time has passed as
// the token has been expired for, up to 15 minutes; it is logged at Debug. With
// [WithLazyRefresh], logins are repeated when a Dial refreshes the certificate, and at
// no other time.
func WithLoginAfterRefresh(on bool) DialOption {
	return dialOption(func(d *dialConfig) { d.relogin = on })
}

// DialOptions makes one option of several, which are applied in their order.
func DialOptions(opts ...DialOption) DialOption {
	opts = slices.Clone(opts)
	return dialOption(func(d *dialConfig) {
		applyAll(opts, &d.errs, func(o DialOption) { o.applyDial(d) })
	})
}
