//go:debug x509usefallbackroots=1

package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

const (
	proxyAddr     = "127.3.0.1:3128"
	proxyPassword = "hunter2/?#@"
)

var proxyKinds = []string{"socks5", "socks5h", "http", "https"}

// testProxy is a proxy of one kind.
type testProxy struct {
	kind     string
	password bool                  // it wants the user "me" with proxyPassword
	out      cloudsqlconn.DialFunc // the way out
	hang     bool                  // it says nothing
	cut      bool                  // it ends the connection instead of answering
	alert    bool                  // TLS fails

	listener net.Listener
	wg       sync.WaitGroup
	cancel   context.CancelFunc // ends the dials on the way out

	mu    sync.Mutex // guards everything below
	asked []string   // the addresses
	conns []net.Conn
}

// start serves until stop. The fields stay as they are from then on.
func (p *testProxy) start(l net.Listener) {
	p.listener = l
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
			p.wg.Go(func() {
				defer c.Close()
				p.serve(ctx, c)
			})
		}
	})
}

// startProxy starts p in the memory of w, whose Dialer from now on has no other
// way than to the proxy.
func (w *world) startProxy(p *testProxy, opts ...cloudsqlconn.Option) (stop func()) {
	w.t.Helper()
	l := memnet.Listen(proxyAddr)
	if p.out == nil {
		p.out = w.DialContext
	}
	p.start(l)
	_ = w.dialer.Close()
	w.dialer = w.newDialer(append([]cloudsqlconn.Option{cloudsqlconn.WithDialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != proxyAddr {
			return nil, fmt.Errorf("a dial to %s, past the proxy", addr)
		}
		return l.DialContext(ctx, network, addr)
	})}, opts...)...)
	return p.stop
}

// cutAll ends all connections.
func (p *testProxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

func (p *testProxy) stop() {
	_ = p.listener.Close()
	p.cancel()
	p.cutAll()
	p.wg.Wait()
}

func (p *testProxy) targets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// url is what a user would write.
func (p *testProxy) url(userinfo string) string {
	return p.kind + "://" + userinfo + p.listener.Addr().String()
}

func (p *testProxy) serve(ctx context.Context, c net.Conn) {
	if p.hang {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	if p.kind == "https" {
		config := &tls.Config{Certificates: []tls.Certificate{proxyCertificate()}}
		if p.alert {
			config.CipherSuites, config.MaxVersion = []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, tls.VersionTLS12 // none that a client takes
		}
		c = tls.Server(c, config)
	}
	r := bufio.NewReader(c)
	addr, ok := p.request(r, c)
	if !ok || p.cut {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, addr)
	p.mu.Unlock()
	out, err := p.out(ctx, "tcp", addr)
	p.answer(c, err)
	if err != nil {
		return
	}
	defer out.Close()
	p.wg.Go(func() {
		defer out.Close()
		_, _ = io.Copy(out, r)
	})
	_, _ = io.Copy(c, out)
}

// request reads which address the client wants, if it may.
func (p *testProxy) request(r *bufio.Reader, w io.Writer) (addr string, ok bool) {
	if p.kind == "socks5" || p.kind == "socks5h" {
		return p.socksRequest(r, w)
	}
	req, err := http.ReadRequest(r)
	if err != nil || req.Method != http.MethodConnect {
		return "", false
	}
	// BasicAuth reads another header.
	req.Header.Set("Authorization", req.Header.Get("Proxy-Authorization"))
	user, password, _ := req.BasicAuth()
	if p.password && (user != "me" || password != proxyPassword) {
		_, _ = io.WriteString(w, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
		return "", false
	}
	return req.Host, true
}

func (p *testProxy) socksRequest(r io.Reader, w io.Writer) (addr string, ok bool) {
	field := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return make([]byte, n)
		}
		return b
	}
	methods := field(int(field(2)[1]))
	method := byte(0)
	if p.password {
		method = 2
	}
	if bytes.IndexByte(methods, method) < 0 {
		_, _ = w.Write([]byte{5, 0xff})
		return "", false
	}
	_, _ = w.Write([]byte{5, method})
	if p.password {
		user := field(int(field(2)[1]))
		password := field(int(field(1)[0]))
		if string(user) != "me" || string(password) != proxyPassword {
			_, _ = w.Write([]byte{1, 1})
			return "", false
		}
		_, _ = w.Write([]byte{1, 0})
	}
	head := field(4)
	var host string
	switch head[3] {
	case 1:
		host = net.IP(field(4)).String()
	case 3:
		host = string(field(int(field(1)[0])))
	case 4:
		host = net.IP(field(16)).String()
	}
	port := field(2)
	return net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1]))), head[1] == 1
}

func (p *testProxy) answer(w io.Writer, err error) {
	socks := []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	text := "HTTP/1.1 200 Connection established\r\n\r\n"
	if err != nil {
		socks[1], text = 5, "HTTP/1.1 502 Bad Gateway\r\n\r\n"
	}
	if p.kind == "http" || p.kind == "https" {
		_, _ = io.WriteString(w, text)
		return
	}
	_, _ = w.Write(socks)
}

// proxyCertificate is a proxy's certificate that this process trusts.
var proxyCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IPAddresses:  []net.IP{net.ParseIP("127.3.0.1"), net.ParseIP("127.0.0.1")},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	x509.SetFallbackRoots(roots) // instead of the system's: see the line at the top
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})
