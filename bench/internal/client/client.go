// Package client dials as it is told, and says what that has cost. It is built
// with other versions of the library, too: it depends on no package of this
// repository, and of the library on nothing that is new.
package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"time"

	peer "cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// Config says what is dialled, and by what.
type Config struct {
	Peer       bool   // by Google's connector, with WithAutoIP
	Private    bool   // with WithPrivateIP
	URL, Token string // of the Admin API
	Instance   string
	Addrs      map[string]string // where an address of the metadata really leads; the others are silent
	Key        []byte            // RSA, PKCS #1
}

// Task is some Dials, one after the other, each with the server's first byte
// and Close.
type Task struct {
	Fresh   bool // a new Dialer does them
	Dials   int
	Timeout time.Duration // of all of them
}

// Result is what a Dial has cost the process, on average.
type Result struct {
	Wall, CPU     time.Duration
	Allocs, Bytes float64
	Failed        string // the error that ended the task
}

// Serve reads a Config and Tasks from in, all in JSON, and writes the Result of
// each to out, until in ends.
func Serve(in io.Reader, out io.Writer) error {
	tasks, results := json.NewDecoder(in), json.NewEncoder(out)
	var cfg Config
	if err := tasks.Decode(&cfg); err != nil {
		return err
	}
	d, err := newDialer(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = d.close() }()
	for {
		var t Task
		if err := tasks.Decode(&t); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if t.Fresh {
			_ = d.close()
			if d, err = newDialer(cfg); err != nil {
				return err
			}
		}
		if err := results.Encode(d.do(t)); err != nil {
			return err
		}
	}
}

// dialer is a Dialer of either library.
type dialer struct {
	dial  func(context.Context) (net.Conn, error)
	close func() error
}

func newDialer(cfg Config) (*dialer, error) {
	key, err := x509.ParsePKCS1PrivateKey(cfg.Key)
	if err != nil {
		return nil, err
	}
	ctx, token := context.Background(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: cfg.Token})
	if cfg.Peer {
		opts := []peer.Option{peer.WithAdminAPIEndpoint(cfg.URL), peer.WithTokenSource(token), peer.WithRSAKey(key),
			peer.WithBuiltInMetrics(false), peer.WithDefaultDialOptions(peer.WithAutoIP())}
		if !Direct(cfg.Addrs) {
			opts = append(opts, peer.WithDialFunc(cfg.dialTCP))
		}
		d, err := peer.NewDialer(ctx, opts...)
		if err != nil {
			return nil, err
		}
		return &dialer{func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, cfg.Instance) }, d.Close}, nil
	}
	opts := []cloudsqlconn.Option{cloudsqlconn.WithAdminAPIEndpoint(cfg.URL), cloudsqlconn.WithTokenSource(token),
		cloudsqlconn.WithPrivateKey(key)}
	if !Direct(cfg.Addrs) {
		opts = append(opts, cloudsqlconn.WithDialFunc(cfg.dialTCP))
	}
	if cfg.Private {
		opts = append(opts, cloudsqlconn.WithPrivateIP())
	}
	d, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return &dialer{func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, cfg.Instance) }, d.Close}, nil
}

// Port is where instances listen.
const Port = "3307"

// Direct reports whether all addresses of the metadata lead where they say, so
// that they can be dialled as a connector does by itself.
func Direct(addrs map[string]string) bool {
	for host, to := range addrs {
		if to != net.JoinHostPort(host, Port) {
			return false
		}
	}
	return true
}

// dialTCP waits for ctx at a silent address, as for an answer to a SYN.
func (c Config) dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	to, ok := c.Addrs[host]
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

func (d *dialer) do(t Task) (r Result) {
	var before, after runtime.MemStats
	runtime.GC() // of what was before
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), t.Timeout)
	defer cancel()
	for range t.Dials {
		if err := d.once(ctx); err != nil {
			r.Failed = err.Error()
			break
		}
	}
	wall, used := time.Since(start), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	n := time.Duration(t.Dials)
	r.Wall, r.CPU = wall/n, used/n
	r.Allocs = float64(after.Mallocs-before.Mallocs) / float64(n)
	r.Bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
	return r
}

func (d *dialer) once(ctx context.Context) error {
	c, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

// cpuTime is what this process has used so far, in user and in kernel mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no reason to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
