package cloudsqltest_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
)

var tellTLS = mdx.Request{ClientProtocolType: mdx.TLS, UserAgent: "test/1"}

// exchangeConn makes the metadata exchange on a connection.
type exchangeConn struct {
	net.Conn
	*mdx.Exchange
}

func (c exchangeConn) Read(b []byte) (int, error)  { return c.Exchange.Read(c.Conn, b) }
func (c exchangeConn) Write(b []byte) (int, error) { return c.Exchange.Write(c.Conn, b) }

func (c *client) dialAndTell() exchangeConn {
	c.t.Helper()
	conn, err := c.connect(c.config())
	wantNil(c.t, err)
	return exchangeConn{conn, mdx.New(tellTLS)}
}

func wantRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

func TestMetadataExchange(t *testing.T) {
	t.Parallel()
	for _, mode := range []cloudsqltest.MetadataExchange{cloudsqltest.AcceptMetadata, cloudsqltest.AcceptMetadataBytewise, cloudsqltest.AcceptMetadataSilently, cloudsqltest.GreetFirst} {
		t.Run(mode.String(), func(t *testing.T) {
			onBoth(t, cloudsqltest.Instance{MetadataExchange: mode}, func(t *testing.T, c *client) {
				conn := c.dialAndTell()
				defer conn.Close()
				wantEcho(t, conn)
				want := []cloudsqltest.ClientMetadata{{ClientProtocolType: "TLS", UserAgent: "test/1"}}
				if got := c.p.MetadataExchanges(); !slices.Equal(got, want) {
					t.Errorf("the instance was told %v, want %v", got, want)
				}
			})
		})
	}
}

func TestMetadataExchangeThatFails(t *testing.T) {
	t.Parallel()
	for mode, want := range map[cloudsqltest.MetadataExchange]string{
		cloudsqltest.RefuseMetadata:            cloudsqltest.RefusedMetadata,
		cloudsqltest.OversizedMetadataResponse: "length is 16385",
	} {
		t.Run(mode.String(), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{MetadataExchange: mode}, func(t *testing.T, c *client) {
				conn := c.dialAndTell()
				defer conn.Close()
				_, err := io.WriteString(conn, "hello")
				wantNil(t, err)
				if _, err := conn.Read(make([]byte, 10)); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
				if n := len(c.p.MetadataExchanges()); n != 1 {
					t.Errorf("%d exchanges", n)
				}
			})
		})
	}
}

func TestServersThatTalkFirstAreTurnedToAfterAWhile(t *testing.T) {
	t.Parallel()
	for mode, after := range map[cloudsqltest.MetadataExchange]time.Duration{
		cloudsqltest.NoMetadataExchange: 0,
		cloudsqltest.GreetFirst:         0,
		cloudsqltest.AcceptMetadata:     250 * time.Millisecond,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			told := make(chan string, 2)
			greet := func(conn net.Conn) {
				told <- conn.(*cloudsqltest.Conn).ClientProtocolType()
				_, _ = io.WriteString(conn, "greeting")
				_, _ = io.ReadFull(conn, make([]byte, 5))
				told <- conn.(*cloudsqltest.Conn).ClientProtocolType()
				_, _ = io.WriteString(conn, "welcome")
			}
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, cloudsqltest.NewMemoryServer(), cloudsqltest.Instance{MetadataExchange: mode, Handler: greet})
				defer c.s.Close()
				conn := c.dialAndTell()
				defer conn.Close()
				start := time.Now()
				wantRead(t, conn, "greeting")
				if d := time.Since(start); d != after {
					t.Errorf("the greeting came after %v, want %v", d, after)
				}
				if mode == cloudsqltest.NoMetadataExchange {
					return
				}
				_, err := io.WriteString(conn, "login")
				wantNil(t, err)
				wantRead(t, conn, "welcome") // and no answer in front of it
				if before, then := <-told, <-told; before != "" || then != "TLS" {
					t.Errorf("the handler knew %q, and then %q", before, then)
				}
			})
		})
	}
}

func TestInstanceEndsConnectionsWithABadMetadataRequest(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata}, func(t *testing.T, c *client) {
		conn, err := c.connect(c.config())
		wantNil(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "CSQLMDEX\xff\xff\xff\xff")
		wantNil(t, err)
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want the end", err)
		}
	})
}

func TestMetadataOfTheInstanceSaysThatItKnowsTheExchange(t *testing.T) {
	t.Parallel()
	for mode, want := range map[cloudsqltest.MetadataExchange][]string{
		cloudsqltest.NoMetadataExchange: nil,
		cloudsqltest.RefuseMetadata:     {"CLIENT_PROTOCOL_TYPE"},
	} {
		t.Run(mode.String(), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{MetadataExchange: mode}, func(t *testing.T, c *client) {
				var s struct{ MdxProtocolSupport []string }
				c.call("GET", instancePath+"/connectSettings", nil, &s)
				if !slices.Equal(s.MdxProtocolSupport, want) {
					t.Errorf("got %v, want %v", s.MdxProtocolSupport, want)
				}
			})
		})
	}
}
