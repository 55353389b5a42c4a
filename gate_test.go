package cloudsqlconn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

const testInstance = "my-project:europe-west1:my-db"

// What a connection may cost at most: counts that are the same on every
// machine, no times. They are compared with those of crypto/tls alone. Nothing
// may run beside these tests: they are not parallel.

const (
	mostAllocs = 30  // of a warm Dial, more than of crypto/tls
	mostHeap   = 300 // bytes that an idle connection holds, more than a tls.Conn
)

// gate is an instance that greets and then listens, and two ways to it.
type gate struct {
	t          *testing.T
	dialer     *cloudsqlconn.Dialer
	ours, bare func() net.Conn
}

// cloud is what leads to the instance.
type cloud struct {
	URL, Token string
	Addr       string
	client     *http.Client
	dial       cloudsqlconn.DialFunc
}

var gateInstance = cloudsqltest.Instance{
	NoSessionTickets: true,
	Addrs:            map[cloudsqlconn.IPType]string{cloudsqlconn.PrivateIP: "127.0.0.1"},
	Handler: func(c net.Conn) {
		if _, err := c.Write([]byte{0}); err == nil {
			_, _ = io.Copy(io.Discard, c)
		}
	},
}

func newGate(t *testing.T, to cloud) *gate {
	t.Helper()
	g := &gate{t: t}
	ctx, cancel := context.WithCancel(context.Background()) // one that can end, as database/sql's
	t.Cleanup(cancel)
	token := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: to.Token})
	d, err := cloudsqlconn.NewDialer(ctx, cloudsqlconn.WithAdminAPIEndpoint(to.URL), cloudsqlconn.WithTokenSource(token),
		cloudsqlconn.WithHTTPClient(to.client), cloudsqlconn.WithDialFunc(to.dial))
	g.want(err)
	t.Cleanup(func() { _ = d.Close() })
	g.dialer = d
	cfg := bareConfig(t, to, token)
	g.ours = func() net.Conn {
		c, err := d.Dial(ctx, testInstance)
		g.want(err)
		return g.greeted(c)
	}
	g.bare = func() net.Conn {
		raw, err := to.dial(ctx, "tcp", "127.0.0.1:3307")
		g.want(err)
		c := tls.Client(raw, cfg)
		g.want(c.HandshakeContext(ctx))
		return g.greeted(c)
	}
	return g
}

// kitVar makes this program a process that has the instance, with so many
// addresses: 1 or 2.
const kitVar = "CLOUDSQLCONN_TEST_KIT"

func init() {
	if os.Getenv(kitVar) == "" {
		return
	}
	s := cloudsqltest.NewServer()
	cfg := gateInstance
	if os.Getenv(kitVar) == "2" {
		cfg.Addrs = nil // a public one and a private one
	}
	p := s.AddInstance(testInstance, cfg)
	_ = json.NewEncoder(os.Stdout).Encode(cloud{URL: s.URL(), Token: s.Token(), Addr: p.Addr().String()})
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it, or ends
	os.Exit(0)
}

// remoteCloud starts an instance with so many addresses, all good, in another
// process: what this one counts is the client's alone.
func remoteCloud(t *testing.T, addresses int) (to cloud) {
	t.Helper()
	g := &gate{t: t}
	program, err := os.Executable()
	g.want(err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), kitVar+"="+strconv.Itoa(addresses))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	g.want(err)
	out, err := cmd.StdoutPipe()
	g.want(err)
	g.want(cmd.Start())
	to.client = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		to.client.CloseIdleConnections()
		_ = in.Close()
		g.want(cmd.Wait())
	})
	g.want(json.NewDecoder(out).Decode(&to))
	to.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, to.Addr)
	}
	return to
}

// bareConfig is the least that crypto/tls needs to do the same.
func bareConfig(t *testing.T, to cloud, token oauth2.TokenSource) *tls.Config {
	t.Helper()
	g := &gate{t: t}
	client, err := admin.NewClient(admin.Config{
		Endpoint: to.URL, HTTPClient: to.client, Key: admin.ProcessKey, API: token,
	})
	g.want(err)
	defer client.Close()
	info, _, err := client.Fetch(t.Context(), admin.Instance{Project: "my-project", Region: "europe-west1", ID: "my-db"}, false)
	g.want(err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to.URL+"/sql/v1beta4/projects/my-project/instances/my-db/connectSettings", nil)
	g.want(err)
	req.Header.Set("Authorization", "Bearer "+to.Token)
	resp, err := to.client.Do(req)
	g.want(err)
	defer resp.Body.Close()
	var settings sqladmin.ConnectSettings
	g.want(json.NewDecoder(resp.Body).Decode(&settings))
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(settings.ServerCaCert.Cert)) {
		t.Fatal("no CA in the metadata")
	}
	cfg := info.TLS("", false).Clone()
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots}) // which sign it directly
		return err
	}
	return cfg
}

func (g *gate) want(err error) {
	if err != nil {
		g.t.Helper()
		g.t.Fatal(err)
	}
}

// greeted returns c when both sides have ended the handshake.
func (g *gate) greeted(c net.Conn) net.Conn {
	g.t.Helper()
	_, err := io.ReadFull(c, make([]byte, 1))
	g.want(err)
	return c
}

// allocs is how many allocations dial and Close take: the fewest of some rounds, so that what the runtime does now and
// then does not count.
func (g *gate) allocs(dial func() net.Conn) int {
	const rounds, n = 5, 40
	fewest := uint64(1 << 62)
	for range rounds {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range n {
			_ = dial().Close()
		}
		runtime.ReadMemStats(&after)
		fewest = min(fewest, (after.Mallocs-before.Mallocs)/n)
	}
	return int(fewest)
}

func TestWarmDialAllocatesLittleMoreThanTLS(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates, too")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it empties the pools of crypto/tls
	// A second address that is not needed, since the first is good, costs next to
	// nothing: that others are raced is no concern of those that need no race.
	for _, addresses := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d addresses", addresses), func(t *testing.T) {
			g := newGate(t, remoteCloud(t, addresses))
			g.allocs(g.bare) // warms up
			g.allocs(g.ours)
			bare, ours := g.allocs(g.bare), g.allocs(g.ours)
			t.Logf("crypto/tls: %d allocations, Dial: %d", bare, ours)
			if ours-bare > mostAllocs {
				t.Errorf("a warm Dial makes %d allocations more than crypto/tls, want at most %d", ours-bare, mostAllocs)
			}
			if has := g.dialer.Instances()[0].Addrs; len(has) != addresses {
				t.Errorf("the addresses are %v, want %d", has, addresses)
			}
		})
	}
}

// open opens n connections.
func (g *gate) open(n int, dial func() net.Conn) []net.Conn {
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = dial()
	}
	return conns
}

func shut(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

func TestIdleConnectionHoldsLittleMoreThanTLS(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates, too")
	}
	g := newGate(t, remoteCloud(t, 1))
	const n = 100
	heap := func(dial func() net.Conn) int {
		before := liveHeap()
		conns := g.open(n, dial)
		defer shut(conns)
		return (liveHeap() - before) / n
	}
	heap(g.bare) // warms up
	heap(g.ours)
	bare, ours := heap(g.bare), heap(g.ours)
	t.Logf("crypto/tls: %d bytes, Dial: %d", bare, ours)
	if ours-bare > mostHeap {
		t.Errorf("an idle connection holds %d bytes more than a tls.Conn, want at most %d", ours-bare, mostHeap)
	}
}

func liveHeap() int {
	runtime.GC()
	runtime.GC() // what was in a pool outlives the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestIdleConnectionHasNoGoroutine(t *testing.T) {
	wantKey(t)
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		defer s.Close()
		s.AddInstance(testInstance, gateInstance)
		g := newGate(t, cloud{URL: s.URL(), Token: s.Token(), client: s.Client(), dial: s.DialContext})
		goroutines := func(dial func() net.Conn) int {
			shut(g.open(1, dial)) // what is there once does not count
			time.Sleep(time.Minute)
			synctest.Wait()
			before := runtime.NumGoroutine()
			conns := g.open(100, dial)
			defer shut(conns)
			synctest.Wait()
			return runtime.NumGoroutine() - before
		}
		// One for each connection would be 100 more. Goroutines outside of the
		// bubble, of HTTP connections that are being closed, come and go.
		const stray = 10
		if bare, ours := goroutines(g.bare), goroutines(g.ours); ours-bare > stray {
			t.Errorf("100 connections have %d goroutines, with crypto/tls alone %d: those of the kit", ours, bare)
		}
	})
}

// As long as an address may have to take over from a stream, what is written is
// kept, up to 64 KiB. Google's connector keeps all of it.
func TestWhatIsWrittenBeforeTheFirstReadTakesNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		defer s.Close()
		s.ServeSQLData(cloudsqltest.SQLDataConfig{})
		p := s.AddInstance(testInstance, cloudsqltest.Instance{SQLData: true, Handler: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }})
		g := &gate{t: t}
		d, err := cloudsqlconn.NewDialer(t.Context(), append(s.Options(), cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataPrefer))...)
		g.want(err)
		defer d.Close()
		c, err := d.Dial(t.Context(), testInstance)
		g.want(err)
		defer c.Close()
		write := func(blocks int) {
			for range blocks {
				_, err := c.Write(make([]byte, 64<<10))
				g.want(err)
			}
			synctest.Wait()
		}
		write(16) // fills what is there once
		before := liveHeap()
		write(1024)
		held := liveHeap() - before
		t.Logf("%d bytes are held after 64 MiB, of %d streams", held, p.Counts().Streams)
		if held > 2<<20 || p.Counts().Streams != 1 {
			t.Errorf("%d bytes are held, want 2 MiB at most; %d streams", held, p.Counts().Streams)
		}
	})
}

// wantKey makes the process's key, outside bubbles: it takes real time.
func wantKey(t *testing.T) {
	t.Helper()
	if _, err := admin.ProcessKey(); err != nil {
		t.Fatal(err)
	}
}
