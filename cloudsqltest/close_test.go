package cloudsqltest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// logged returns what the kit logs until the test ends. The test must not run
// beside others.
func logged(t *testing.T) func() string {
	var mu sync.Mutex
	var b bytes.Buffer
	before := log.Writer()
	log.SetOutput(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	}))
	t.Cleanup(func() { log.SetOutput(before) })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Not parallel: it reads the log.
func TestCloseSaysWhatItWaitsForAndEveryCallWaits(t *testing.T) {
	text := logged(t)
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := newClient(t, cloudsqltest.NewMemoryServer(), cloudsqltest.Instance{Handler: func(net.Conn) { <-release }})
		conn, err := c.connect(c.config())
		wantNil(t, err)
		defer conn.Close()
		c.s.OnRequest = func(*http.Request) *cloudsqltest.Fault { <-release; return nil }
		go c.send(context.Background(), "GET", "/stuck", "")
		idle := c.s.AddInstance("my-project:europe-west1:idle", cloudsqltest.Instance{})
		synctest.Wait()

		start := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				c.s.Close()
				if took := time.Since(start); took != time.Minute {
					t.Errorf("Close returned after %v, want 1m", took)
				}
			})
		}
		time.Sleep(6 * time.Second)
		got := text()
		for _, want := range []string{"Server.Close", "after 5s", "my-project:europe-west1:my-db: connection from 127.0.0.1:", "Handler has not returned", "GET /stuck from 127.0.0.1:"} {
			if !strings.Contains(got, want) {
				t.Errorf("the log does not tell %q:\n%s", want, got)
			}
		}
		if strings.Count(got, "blocked") != 1 || strings.Contains(got, idle.Name()) {
			t.Errorf("the log tells more than what blocks:\n%s", got)
		}
		time.Sleep(54 * time.Second)
		close(release)
		wg.Wait()
		c.s.Close()
	})
}

// Not parallel: it reads the log.
func TestStopSaysWhatItWaitsFor(t *testing.T) {
	text := logged(t)
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, cloudsqltest.NewMemoryServer(), cloudsqltest.Instance{Handler: func(net.Conn) { time.Sleep(7 * time.Second) }})
		defer c.s.Close()
		conn, err := c.connect(c.config())
		wantNil(t, err)
		defer conn.Close()
		synctest.Wait()
		c.p.Stop()
		if got := text(); !strings.Contains(got, "Stop blocked after 5s") || !strings.Contains(got, instanceName+": connection from 127.0.0.1:") {
			t.Errorf("the log is:\n%s", got)
		}
	})
}

// Not parallel: it reads the log.
func TestPanicInOnRequestIsLoggedAndEndsTheConnection(t *testing.T) {
	text := logged(t)
	c := newClient(t, cloudsqltest.NewServer(), cloudsqltest.Instance{})
	defer c.s.Close()
	c.s.OnRequest = func(*http.Request) *cloudsqltest.Fault { panic("of the test") }
	if _, _, err := c.send(t.Context(), "GET", "/path", ""); err == nil {
		t.Error("the request was answered")
	}
	if got := text(); !strings.Contains(got, "panic in GET /path: of the test") || !strings.Contains(got, "close_test.go") {
		t.Errorf("the log is:\n%s", got)
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		conn := c.mustConnect(c.config())
		defer conn.Close()
		c.p.SetBehavior(cloudsqltest.Silent)
		silent, err := c.dial(t.Context())
		wantNil(t, err)
		defer silent.Close()
		c.s.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
			return &cloudsqltest.Fault{Hang: r.URL.Path == "/hang", Delay: time.Hour}
		}
		c.s.Swallow("203.0.113.7")
		start := time.Now()
		var wg sync.WaitGroup
		for _, path := range []string{"/hang", "/delay"} {
			wg.Go(func() {
				if _, _, err := c.send(context.Background(), "GET", path, ""); err == nil {
					t.Errorf("%s was answered", path)
				}
			})
		}
		wg.Go(func() {
			if _, err := c.s.DialContext(context.Background(), "tcp", "203.0.113.7:3307"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("the swallowed dial ended with %v", err)
			}
		})
		synctest.Wait()
		c.s.Close()
		wg.Wait()
		if took := time.Since(start); took > time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

func TestClosedServerRefusesEverything(t *testing.T) {
	onBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		_ = c.mustConnect(c.config()).Close()
		c.s.Close()
		c.s.Close()
		c.p.Start()
		c.p.RotateServerCA()
		c.p.SetAddrs(c.p.Addrs())
		c.p.SetBehavior(cloudsqltest.Silent)
		c.s.DeleteInstance(c.p)
		if _, _, err := c.send(t.Context(), "GET", "/", ""); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("request: got %v, want ECONNREFUSED", err)
		}
		if _, err := c.dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: got %v, want ECONNREFUSED", err)
		}
		if got := c.p.Counts(); got.Refused != 1 || got.Handshakes != 1 || len(c.s.Requests()) != 2 {
			t.Errorf("got %+v and %d requests", got, len(c.s.Requests()))
		}
	})
}

func TestHandlerThatExitsItsGoroutineIsDone(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{Handler: func(net.Conn) { runtime.Goexit() }}, func(t *testing.T, c *client) {
		conn, err := c.connect(c.config())
		wantNil(t, err)
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is open")
		}
		c.p.Stop()
	})
}

func TestEverythingAtOnce(t *testing.T) {
	t.Run("memory", func(t *testing.T) { t.Parallel(); everythingAtOnce(t, cloudsqltest.NewMemoryServer()) })
	t.Run("loopback", func(t *testing.T) { t.Parallel(); everythingAtOnce(t, cloudsqltest.NewServer()) })
}

func everythingAtOnce(t *testing.T, s *cloudsqltest.Server) {
	c := newClient(t, s, cloudsqltest.Instance{})
	config := c.config()
	s.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
		s.Requests()
		if r.Method == "GET" {
			return &cloudsqltest.Fault{ResetAt: cloudsqltest.AtStart}
		}
		return nil
	}
	moved := map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "203.0.113.7", cloudsqlconn.PSC: "a.example.com"}
	home := c.p.Addrs()
	var clients, wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	repeat := func(f func()) {
		wg.Go(func() {
			for ctx.Err() == nil {
				f()
				runtime.Gosched()
			}
		})
	}
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				raw, err := c.dial(ctx)
				if err != nil {
					continue
				}
				_ = raw.SetDeadline(time.Now().Add(20 * time.Millisecond))
				_, _ = tls.Client(raw, config).Write([]byte("hello"))
				_ = raw.Close()
			}
		})
	}
	for _, f := range []func(){
		c.p.Stop, c.p.Start, c.p.Start, c.p.RotateServerCA, c.p.RotateClientCA,
		func() { c.p.CutConnections(true) },
		func() { c.p.CutConnections(false) },
		func() { c.p.SetAddrs(moved) },
		func() { c.p.SetAddrs(home) },
		func() { c.p.AlterServerCert(nil) },
		func() { c.p.SetBehaviorFor(1, cloudsqltest.Behavior(time.Now().Nanosecond()/1000%6)) },
		func() { c.p.Counts(); c.p.Addr(); c.p.Addrs() },
		func() { _, _, _ = c.send(ctx, "GET", instancePath+"/connectSettings", "") },
		func() {
			s.DeleteInstance(s.AddInstance("my-project:europe-west1:other", cloudsqltest.Instance{}))
		},
	} {
		repeat(f)
	}
	clients.Wait()
	wg.Wait()
	wg.Go(s.Close)
	wg.Go(s.Close)
	wg.Wait()
}
