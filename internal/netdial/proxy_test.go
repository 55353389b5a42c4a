package netdial_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

const target = "10.0.0.5:3307"

func parse(t testing.TB, url string) *netdial.Proxy {
	t.Helper()
	p, err := netdial.ParseProxy(url)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseProxyFillsInThePort(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"socks5://proxy":                "proxy:1080 (socks5)",
		"SOCKS5H://proxy.example.com./": "proxy.example.com.:1080 (socks5h)",
		"http://10.0.0.1":               "10.0.0.1:80 (http)",
		"https://[fd00::1]":             "[fd00::1]:443 (https)",
		"https://me:pass@[fd00::1]:8":   "[fd00::1]:8 (https)",
		"http://me@proxy:65535":         "proxy:65535 (http)",
		"http://:pass@proxy:3128":       "proxy:3128 (http)",
		"socks5://me%40x:p%2Fw@proxy:9": "proxy:9 (socks5)",
	} {
		if got := parse(t, url).String(); got != want {
			t.Errorf("ParseProxy(%q) = %q, want %q", url, got, want)
		}
	}
}

func TestParseProxyShowsNoCredentials(t *testing.T) {
	t.Parallel()
	long := "hunter2" + strings.Repeat("x", 249)
	for url, want := range map[string]string{
		"":                                   "want a URL such as",
		"proxy.example.com":                  "want a URL such as",
		"proxy.example.com:3128":             "want a URL such as",
		"me:hunter2@proxy:3128":              "want a URL such as",
		"http://":                            "want a URL such as",
		"http://me:hunter2@":                 "want a URL such as",
		"http://:3128":                       "want a URL such as",
		"http://proxy:port":                  "want a URL such as",
		"http://me:hunter2/@proxy":           "want a URL such as",
		"http://me:4/hunter2@proxy":          "percent-encoded",
		"http://me:4?hunter2@proxy":          "percent-encoded",
		"http://me:4#hunter2@proxy":          "percent-encoded",
		"http://me:hunter2%zz@proxy":         "percent-encoded",
		"http://proxy/path":                  "want a URL such as",
		"http://pro xy":                      "want a URL such as",
		"http://proxy\n":                     "want a URL such as",
		"ftp://me:hunter2@proxy":             `unknown scheme "ftp"`,
		"socks4://proxy:1080":                `unknown scheme "socks4"`,
		"//proxy:1080":                       `unknown scheme ""`,
		"http://me:hunter2@proxy:65536":      "1 to 65535",
		"http://me:hunter2@proxy:0":          "1 to 65535",
		"http://m%3Ae:hunter2@proxy":         "colon",
		"socks5://:hunter2@proxy":            "user name of 1 to 255",
		"socks5://me:" + long + "@proxy":     "user name of 1 to 255",
		"socks5h://" + long + ":pass@proxy":  "user name of 1 to 255",
		"socks5://me:hunter2@proxy:1080/?x=": "want a URL such as",
	} {
		p, err := netdial.ParseProxy(url)
		if p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseProxy(%q) = %v, %v; want an error with %q", url, p, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("the error for %q is %q", url, err)
		}
	}
}

func FuzzParseProxy(f *testing.F) {
	for _, url := range []string{"socks5://me:pass@proxy", "http://[::1]:3128", "//x", "me:pass@proxy", "https://me%3a@h:1#x"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		p, err := netdial.ParseProxy(url)
		if (p == nil) == (err == nil) {
			t.Fatalf("ParseProxy(%q) = %v, %v", url, p, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q", err)
			}
			return
		}
		addr, _, _ := strings.Cut(p.String(), " ")
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			t.Errorf("ParseProxy(%q) = %q", url, p)
		}
	})
}

// answers is a dial function that returns one connection, always the same, to a
// proxy which sends the answer, whatever it is asked, and then ends its
// direction. It also returns the proxy's end.
func answers(answer string) (netdial.Func, *memnet.Conn) {
	client, server := memnet.Pair(memnet.Addr("127.0.0.1:1"), memnet.Addr("127.0.0.1:3128"))
	_, _ = io.WriteString(server, answer)
	_ = server.CloseWrite()
	return func(context.Context, string, string) (net.Conn, error) { return client, nil }, server
}

func TestCONNECTAsksForTheTarget(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"http://proxy":                      "",
		"http://Aladdin:open%20sesame@p":    "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", // RFC 7617
		"http://Aladdin@p":                  "Proxy-Authorization: Basic QWxhZGRpbjo=\r\n",
		"http://:open%20sesame@p.example:1": "Proxy-Authorization: Basic Om9wZW4gc2VzYW1l\r\n",
	} {
		dial, server := answers("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
		conn, err := parse(t, url).Dial(t.Context(), dial, target)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		got, err := io.ReadAll(server)
		if err != nil {
			t.Fatal(err)
		}
		request := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nUser-Agent: cloudsqlconn\r\n" + want + "\r\n"
		if string(got) != request {
			t.Errorf("%s: sent %q, want %q", url, got, request)
		}
	}
}

func TestWhatFollowsTheResponseIsKept(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ url, answer string }{
		"http":                  {"http://proxy", "HTTP/1.1 200 OK\r\n\r\n"},
		"http 1.0":              {"http://proxy", "HTTP/1.0 200 OK\nX: y\n\n"},
		"http with a length":    {"http://proxy", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"},
		"http, chunked":         {"http://proxy", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		"socks5":                {"socks5://proxy", "\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
		"socks5 with a name":    {"socks5://proxy", "\x05\x00\x05\x00\x00\x03\x05proxy\x00\x00"},
		"socks5 with IPv6":      {"socks5://proxy", "\x05\x00\x05\x00\x00\x04" + strings.Repeat("\x00", 18)},
		"socks5 with password":  {"socks5://me:pass@proxy", "\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
		"socks5 needs none":     {"socks5://me:pass@proxy", "\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
		"the longest response":  {"http://proxy", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 64<<10-24) + "\r\n\r\n"},
		"socks5h is the same":   {"socks5h://proxy", "\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
		"http with no reason":   {"http://proxy", "HTTP/1.1 200\r\n\r\n"},
		"http, other 200 words": {"http://proxy", "HTTP/1.1 200 Connection established\r\n\r\n"},
	} {
		dial, _ := answers(tt.answer + "hello")
		conn, err := parse(t, tt.url).Dial(t.Context(), dial, target)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
			t.Errorf("%s: then came %q, %v", name, got, err)
		}
		_ = conn.Close()
	}
}

func TestErrorsTellWhichProxyFailedAndHow(t *testing.T) {
	t.Parallel()
	const noWay = ": cannot reach " + target + ": "
	for name, tt := range map[string]struct {
		url, answer, want string
		is                error
	}{
		"http refuses":        {"http://proxy", "HTTP/1.1 403 Forbidden\r\n\r\n", `the proxy refuses: "403 Forbidden"`, nil},
		"http, other success": {"http://proxy", "HTTP/1.1 204 No Content\r\n\r\n", `the proxy refuses: "204 No Content"`, nil},
		"http, password":      {"http://proxy", "HTTP/1.1 407 x\r\n\r\n", "put user:password@ into the proxy's URL", nil},
		"http, wrong":         {"http://me:hunter2@proxy", "HTTP/1.1 407 x\r\n\r\n", "is wrong", nil},
		"http is silent":      {"http://proxy", "", "unexpected EOF", io.ErrUnexpectedEOF},
		"http cut":            {"http://proxy", "HTTP/1.1 200 OK\r\nX: y\r\n", "unexpected EOF", io.ErrUnexpectedEOF},
		"http too long":       {"http://proxy", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 64<<10-23) + "\r\n\r\n", "more than 65536 bytes", nil},
		"http, not HTTP":      {"http://proxy", "SSH-2.0-OpenSSH_9.6\r\n\r\n", "is not HTTP", nil},
		"http, long garbage":  {"http://proxy", strings.Repeat("\x1b", 1000) + "\r\n\r\n", "is not HTTP", nil},
		"http, bad header":    {"http://proxy", "HTTP/1.1 200 OK\r\n\x00\x01\r\n\r\n", "is not HTTP", nil},
		"http, long reason":   {"http://proxy", "HTTP/1.1 503 " + strings.Repeat("x", 1000) + "\r\n\r\n", "503 xx", nil},
		"https is not TLS":    {"https://proxy", "HTTP/1.1 400 Bad Request\r\n\r\n", "TLS: ", nil},
		"https closes":        {"https://proxy", "", "TLS: EOF", io.EOF},
		"socks5 refuses":      {"socks5://proxy", "\x05\x00\x05\x02\x00\x01", "connection not allowed by ruleset", nil},
		"socks5 cannot reach": {"socks5://proxy", "\x05\x00\x05\x05\x00\x01", "connection refused", nil},
		"socks5, password":    {"socks5://proxy", "\x05\xff", "no acceptable authentication methods", nil},
		"socks5, wrong":       {"socks5://me:hunter2@proxy", "\x05\x02\x01\x01", "authentication failed", nil},
		"socks5 is silent":    {"socks5://proxy", "", "EOF", io.EOF},
		"socks5 cut":          {"socks5://proxy", "\x05\x00\x05", "unexpected EOF", io.ErrUnexpectedEOF},
		"socks5 is HTTP":      {"socks5://proxy", "HTTP/1.1 400 Bad Request\r\n\r\n", "protocol version", nil},
	} {
		p := parse(t, tt.url)
		dial, _ := answers(tt.answer)
		conn, err := p.Dial(t.Context(), dial, target)
		if conn != nil || err == nil {
			t.Errorf("%s: got %v, %v", name, conn, err)
			continue
		}
		wantClosed(t, dial)
		var e *netdial.Error
		if !errors.As(err, &e) || e.Proxy != p || !strings.HasPrefix(err.Error(), "proxy "+p.String()+noWay) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %q, want %q", name, err, tt.want)
		}
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %q is not %v", name, err, tt.is)
		}
		if text := err.Error(); len(text) > 500 || strings.Contains(text, "hunter2") || strings.ContainsAny(text, "\r\n\x1b\x00") {
			t.Errorf("%s: the error is %q", name, text)
		}
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"http", "https", "socks5"} {
		synctest.Test(t, func(t *testing.T) {
			client, _ := memnet.Pair(memnet.Addr("127.0.0.1:1"), memnet.Addr("127.0.0.1:3128"))
			dial := func(context.Context, string, string) (net.Conn, error) { return client, nil }
			why := errors.New("enough")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
			defer cancel()
			start := time.Now()
			conn, err := parse(t, kind+"://proxy").Dial(ctx, dial, target)
			if conn != nil || !errors.Is(err, why) || !strings.Contains(err.Error(), "("+kind+"): no answer") {
				t.Errorf("%s: got %v, %v", kind, conn, err)
			}
			if d := time.Since(start); d != time.Minute {
				t.Errorf("%s: Dial took %v", kind, d)
			}
			wantClosed(t, dial)
		})
	}
}

// wantClosed checks that the connection which dial has returned is closed.
func wantClosed(t *testing.T, dial netdial.Func) {
	t.Helper()
	conn, err := dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection to the proxy was left open: Close returned %v", err)
	}
}

func TestAProxyThatCannotBeReachedIsNamed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"http", "https", "socks5"} {
		_, err := parse(t, kind+"://127.0.0.1:3128").Dial(t.Context(), func(_ context.Context, network, addr string) (net.Conn, error) {
			return nil, fmt.Errorf("dial %s %s: %w", network, addr, syscall.ECONNREFUSED)
		}, target)
		if want := "proxy 127.0.0.1:3128 (" + kind + "): dial tcp 127.0.0.1:3128: connection refused"; !errors.Is(err, syscall.ECONNREFUSED) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A host that is not one must not become a header.
func TestATargetWithLineBreaksIsNotSent(t *testing.T) {
	t.Parallel()
	dial, server := answers("HTTP/1.1 200 OK\r\n\r\n")
	if _, err := parse(t, "http://proxy").Dial(t.Context(), dial, "db\r\nX-Evil: 1\r\n:3307"); err == nil {
		t.Error("no error")
	}
	if sent, err := io.ReadAll(server); len(sent) > 0 || err != nil {
		t.Errorf("sent %q, %v", sent, err)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, url := range []string{"http://proxy", "socks5://proxy", "socks5://me:pass@proxy"} {
		for _, answer := range []string{"HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 407 \r\nA: b\r\n\r\n", "\x05\x00\x05\x00\x00\x03\x01a\x00\x00x", "\x05\x02\x01\x00\x05\x00\x00\x04", ""} {
			f.Add(url, answer)
		}
	}
	f.Fuzz(func(t *testing.T, url, answer string) {
		p, err := netdial.ParseProxy(url)
		if err != nil || len(answer) > 200<<10 { // more than the network buffers
			return
		}
		dial, _ := answers(answer)
		conn, err := p.Dial(t.Context(), dial, target)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 10_000 {
				t.Errorf("the error is %q", err)
			}
		} else {
			rest, err := io.ReadAll(conn)
			if err != nil || !strings.HasSuffix(answer, string(rest)) {
				t.Errorf("then came %q, %v", rest, err)
			}
			_ = conn.Close()
		}
		wantClosed(t, dial)
	})
}
