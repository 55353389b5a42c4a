package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// credentials are what goes before the proxy's host in its URL.
func credentials(password string) string { return url.UserPassword("me", password).String() + "@" }

// eachProxy runs a test for each kind of proxy, in a world of its own.
func eachProxy(t *testing.T, cfg cloudsqltest.Instance, p func() *testProxy, test func(t *testing.T, w *world, p *testProxy)) {
	proxyCertificate() // outside the bubble
	for _, kind := range proxyKinds {
		t.Run(kind, func(t *testing.T) {
			inWorld(t, cfg, func(t *testing.T, w *world) {
				p := p()
				p.kind = kind
				defer w.startProxy(p)()
				test(t, w, p)
			})
		})
	}
}

func plainProxy() *testProxy { return &testProxy{} }

func TestDialGoesThroughAProxy(t *testing.T) {
	eachProxy(t, cloudsqltest.Instance{Addrs: publicOnly}, plainProxy, func(t *testing.T, w *world, p *testProxy) {
		if err := w.dial(time.Second); err == nil || !strings.Contains(err.Error(), "past the proxy") {
			t.Fatalf("without the option: got %v", err)
		}
		w.wantDial(cloudsqlconn.WithProxy(p.url("")))
		w.wantDial(cloudsqlconn.WithProxy(p.url(credentials("x")))) // which nobody asks for
		if got, want := p.targets(), []string{"127.9.0.1:3307", "127.9.0.1:3307"}; !slices.Equal(got, want) {
			t.Errorf("the proxy was asked for %v, want %v", got, want)
		}
	})
}

func TestTheProxyLooksUpNames(t *testing.T) {
	const name = "abc.europe-west1.sql-psc.goog"
	cfg := cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PSC: name}}
	eachProxy(t, cfg, plainProxy, func(t *testing.T, w *world, p *testProxy) {
		w.wantDial(cloudsqlconn.WithProxy(p.url("")), cloudsqlconn.WithPSC())
		if got := p.targets(); len(got) != 1 || !strings.HasPrefix(got[0], name) {
			t.Errorf("the proxy was asked for %v, want %s", got, name)
		}
	})
}

func TestAProxyCanAskForAPassword(t *testing.T) {
	eachProxy(t, cloudsqltest.Instance{}, func() *testProxy { return &testProxy{password: true} }, func(t *testing.T, w *world, p *testProxy) {
		w.wantDial(cloudsqlconn.WithProxy(p.url(credentials(proxyPassword))))
		for _, given := range []string{"", credentials("wrong-secret")} {
			err := w.dial(time.Second, cloudsqlconn.WithProxy(p.url(given)))
			if err == nil || !strings.Contains(err.Error(), "proxy "+proxyAddr+" ("+p.kind+"): cannot reach 127.") {
				t.Errorf("with credentials %q: got %v", given, err)
				continue
			}
			if strings.Contains(err.Error(), "wrong-secret") {
				t.Errorf("the error %q shows the password", err)
			}
		}
	})
}

// F9, through a proxy.
func TestAProxyThatRefusesOneAddressLeadsToTheNext(t *testing.T) {
	eachProxy(t, cloudsqltest.Instance{}, plainProxy, func(t *testing.T, w *world, p *testProxy) {
		addrs := w.instance.Addrs()
		public, private := net.JoinHostPort(addrs[cloudsqlconn.PublicIP], "3307"), net.JoinHostPort(addrs[cloudsqlconn.PrivateIP], "3307")
		w.AddInstance("other:europe-west1:other", cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{
			cloudsqlconn.PublicIP: addrs[cloudsqlconn.PublicIP],
		}}).Stop()
		w.wantDial(cloudsqlconn.WithProxy(p.url("")))
		if got := p.targets(); !slices.Equal(got, []string{public, private}) {
			t.Errorf("the proxy was asked for %v", got)
		}
		w.instance.Stop()
		err := w.dial(time.Second, cloudsqlconn.WithProxy(p.url("")))
		if err == nil || !strings.Contains(err.Error(), "cannot reach "+public) || !strings.Contains(err.Error(), "cannot reach "+private) {
			t.Errorf("got %v", err)
		}
	})
}

// F17, F37
func TestAHangingProxyHoldsNobodyUp(t *testing.T) {
	eachProxy(t, cloudsqltest.Instance{}, func() *testProxy { return &testProxy{hang: true} }, func(t *testing.T, w *world, p *testProxy) {
		through := cloudsqlconn.WithProxy(p.url(""))
		for _, within := range []time.Duration{300 * time.Millisecond, 10 * time.Second} {
			if d := took(func() { w.wantError(context.DeadlineExceeded, within, through) }); d != within {
				t.Errorf("Dial with %v took %v", within, d)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var err error
		if d := took(func() { _, err = w.dialer.Dial(ctx, testInstance, through) }); d != time.Second || !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled Dial took %v and returned %v", d, err)
		}
		time.AfterFunc(time.Second, func() { _ = w.dialer.Close() })
		if d := took(func() { _, err = w.dialer.Dial(t.Context(), testInstance, through) }); d != time.Second || !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
			t.Errorf("a Dial of a Dialer that is closed took %v and returned %v", d, err)
		}
		// Every connection was closed: each of the proxy's goroutines has ended
		// without the proxy closing any.
		_ = p.listener.Close()
		p.wg.Wait()
		if len(p.conns) < 4 {
			t.Errorf("%d connections reached the proxy, want 4 or more", len(p.conns))
		}
	})
}

func TestAProxyThatDiesEndsItsConnections(t *testing.T) {
	eachProxy(t, cloudsqltest.Instance{}, plainProxy, func(t *testing.T, w *world, p *testProxy) {
		c, err := w.dialer.Dial(t.Context(), testInstance, cloudsqlconn.WithProxy(p.url("")))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		p.cutAll()
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			t.Error("Read succeeded")
		}
		w.wantDial(cloudsqlconn.WithProxy(p.url(""))) // it is up again
	})
}

func TestAProxyThatDiesInItsAnswerIsNamed(t *testing.T) {
	eachProxy(t, cloudsqltest.Instance{Addrs: publicOnly}, func() *testProxy { return &testProxy{cut: true} }, func(t *testing.T, w *world, p *testProxy) {
		err := w.dial(time.Second, cloudsqlconn.WithProxy(p.url("")))
		if err == nil || !strings.Contains(err.Error(), "proxy "+proxyAddr+" ("+p.kind+"): cannot reach 127.9.0.1:3307: ") || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("got %v", err)
		}
	})
}

// An alert from an instance means that the client certificate is no good.
func TestATLSAlertFromAProxyIsNotTheInstances(t *testing.T) {
	proxyCertificate()
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		p := &testProxy{kind: "https", alert: true}
		defer w.startProxy(p)()
		if err := w.dialer.Warmup(t.Context(), testInstance); err != nil {
			t.Fatal(err)
		}
		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		err := w.dial(time.Second, cloudsqlconn.WithProxy(p.url("")))
		if err == nil || !strings.Contains(err.Error(), "(https)") || !strings.Contains(err.Error(), "handshake failure") {
			t.Fatalf("got %v, want a TLS alert", err)
		}
		w.wantDial(cloudsqlconn.WithDialFunc(w.DialContext)) // with what Warmup fetched
	})
}

func TestTheOptionOfADialReplacesTheDialersProxy(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		p := &testProxy{kind: "http"}
		defer w.startProxy(p, cloudsqlconn.WithProxy("socks5://127.3.0.9"))()
		if err := w.dial(time.Second); err == nil || !strings.Contains(err.Error(), "proxy 127.3.0.9:1080 (socks5)") {
			t.Errorf("got %v", err)
		}
		if err := w.dial(time.Second, cloudsqlconn.WithDialTimeout(time.Second)); err == nil || !strings.Contains(err.Error(), "proxy 127.3.0.9:1080 (socks5)") {
			t.Errorf("with another option: got %v", err)
		}
		w.wantDial(cloudsqlconn.WithProxy(p.url("")))
		err := w.dial(time.Second, cloudsqlconn.WithProxyFromEnvironment())
		if err == nil || !strings.Contains(err.Error(), "past the proxy") {
			t.Errorf("with an environment that names no proxy: got %v", err)
		}
	})
}

func TestADialFuncThatReturnsNoProxyIsAnError(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		err := w.dial(time.Second, cloudsqlconn.WithProxy("http://127.3.0.1"), cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) {
			return nil, nil
		}))
		if err == nil || !strings.Contains(err.Error(), "proxy 127.3.0.1:80 (http): the function of WithDialFunc") {
			t.Errorf("got %v", err)
		}
	})
}

// F30, F40
func TestWrongProxiesAreRefused(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string][]cloudsqlconn.Option{
		"WithProxy: want a URL such as":        {cloudsqlconn.WithProxy("")},
		"WithProxy: unknown scheme":            {cloudsqlconn.WithProxy("socks4://me:hunter2@127.3.0.1")},
		"WithProxy: port 0":                    {cloudsqlconn.WithProxy("http://me:hunter2@127.3.0.1:0")},
		"percent-encoded":                      {cloudsqlconn.WithProxy("http://me:hunter2/@127.3.0.1")},
		"want one of them":                     {cloudsqlconn.WithProxyFromEnvironment(), cloudsqlconn.WithProxy("http://127.3.0.1")},
		"WithProxyFromEnvironment: want one o": {cloudsqlconn.DialOptions(cloudsqlconn.WithProxy("http://127.3.0.1")), cloudsqlconn.WithProxyFromEnvironment()},
	} {
		_, err := cloudsqlconn.NewDialer(t.Context(), opts...)
		if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrConfig with %q", err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error %q shows the password", err)
		}
	}
}

// withEnvironment runs a test beside no other, in an environment that has only
// these of the variables about proxies.
func withEnvironment(t *testing.T, env map[string]string, test func(t *testing.T, w *world, p *testProxy)) {
	t.Helper()
	for _, name := range []string{"ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, env[name])
	}
	addrs := map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "10.9.0.1"} // loopback never goes through a proxy of the environment
	inQuietWorld(t, cloudsqltest.Instance{Addrs: addrs}, func(t *testing.T, w *world) {
		p := &testProxy{kind: "socks5"}
		defer w.startProxy(p)()
		test(t, w, p)
	})
}

func TestTheProxyOfTheEnvironmentIsUsedWhenAskedFor(t *testing.T) {
	const there, elsewhere = "socks5://" + proxyAddr, "socks5://127.3.0.9"
	for name, env := range map[string]map[string]string{
		"ALL_PROXY":            {"ALL_PROXY": there},
		"lower case first":     {"all_proxy": there, "ALL_PROXY": elsewhere},
		"NO_PROXY of others":   {"ALL_PROXY": there, "NO_PROXY": "10.9.0.2,10.8.0.0/16,example.com,10.9.0.1:443"},
		"no_proxy comes first": {"ALL_PROXY": there, "no_proxy": "example.com", "NO_PROXY": "*"},
	} {
		t.Run(name, func(t *testing.T) {
			withEnvironment(t, env, func(t *testing.T, w *world, p *testProxy) {
				w.wantDial(cloudsqlconn.WithProxyFromEnvironment())
				if err := w.dial(time.Second); err == nil || !strings.Contains(err.Error(), "past the proxy") {
					t.Errorf("without the option: got %v", err)
				}
				if got := p.targets(); !slices.Equal(got, []string{"10.9.0.1:3307"}) {
					t.Errorf("the proxy was asked for %v", got)
				}
			})
		})
	}
}

func TestTheProxyOfTheEnvironmentIsNotForAll(t *testing.T) {
	const there = "socks5://" + proxyAddr
	for name, env := range map[string]map[string]string{
		"no proxy":         {},
		"NO_PROXY":         {"ALL_PROXY": there, "NO_PROXY": "example.com, 10.9.0.1"},
		"no_proxy":         {"ALL_PROXY": there, "no_proxy": "10.9.0.1"},
		"NO_PROXY network": {"ALL_PROXY": there, "NO_PROXY": "10.9.0.0/24"},
		"NO_PROXY port":    {"ALL_PROXY": there, "NO_PROXY": "10.9.0.1:3307"},
		"NO_PROXY all":     {"ALL_PROXY": there, "NO_PROXY": "*"},
	} {
		t.Run(name, func(t *testing.T) {
			withEnvironment(t, env, func(t *testing.T, w *world, p *testProxy) {
				w.wantDial(cloudsqlconn.WithProxyFromEnvironment(), cloudsqlconn.WithDialFunc(w.DialContext))
				if got := p.targets(); len(got) != 0 {
					t.Errorf("the proxy was asked for %v", got)
				}
			})
		})
	}
}

func TestAWrongProxyInTheEnvironmentIsAnError(t *testing.T) {
	withEnvironment(t, map[string]string{"ALL_PROXY": "me:hunter2@proxy:3128"}, func(t *testing.T, w *world, _ *testProxy) {
		e := w.wantError(cloudsqlconn.ErrConfig, time.Second, cloudsqlconn.WithProxyFromEnvironment())
		if !strings.Contains(e.Error(), "WithProxyFromEnvironment: ALL_PROXY: want a URL") || strings.Contains(e.Error(), "hunter2") {
			t.Errorf("got %q", e)
		}
	})
}
