package cloudsqltest_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
)

const (
	protocol41   = 1 << 9
	wantsTLS     = 1 << 11
	tlsRequest41 = 36 // bytes
)

// exchangeWith connects to an instance of MySQL with backend behind it, and
// tells its protocol type, if that is not Unspecified, with the first Write.
func exchangeWith(t *testing.T, backend string, told mdx.ClientProtocolType) (*client, net.Conn) {
	t.Helper()
	s := cloudsqltest.NewServer()
	t.Cleanup(s.Close)
	c := newClient(t, s, cloudsqltest.Instance{DatabaseVersion: "MYSQL_9_7", Backend: backend, MetadataExchange: cloudsqltest.GreetFirst})
	conn, err := c.connect(c.config())
	wantNil(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	if told == mdx.Unspecified {
		return c, conn
	}
	return c, exchangeConn{conn, mdx.New(mdx.Request{ClientProtocolType: told})}
}

// The instance that has been told that its client's way is secure makes its own
// secure, too: MySQL refused the first login with the right password, which had
// come as it was over TCP.
func TestMySQLGetsTLSFromAClientThatIsSecure(t *testing.T) {
	t.Parallel()
	config := httptest.NewUnstartedServer(nil)
	config.StartTLS()
	certificate := config.TLS.Certificates
	config.Close()
	for told, secure := range map[mdx.ClientProtocolType]bool{mdx.TLS: true, mdx.UDS: true, mdx.TCP: false, mdx.Unspecified: false} {
		addr := backend(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
			_, _ = io.WriteString(c, mysqlGreeting(0xffff))
			step := byte(1)
			if secure {
				request := make([]byte, tlsRequest41)
				_, err := io.ReadFull(c, request)
				if want := mysqlLogin(protocol41|wantsTLS, "")[4:tlsRequest41]; err != nil || string(request[:4]) != "\x20\x00\x00\x01" || string(request[4:]) != want {
					t.Errorf("%v: asked for TLS by %q, %v", told, request, err)
				}
				c, step = tls.Server(c, &tls.Config{Certificates: certificate}), 2
			}
			expect := func(want string) {
				got := make([]byte, len(want))
				if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
					t.Errorf("%v: the server got %q, %v, want %q", told, got[:n], err, want)
				}
			}
			login := []byte(mysqlLogin(protocol41, "app"))
			if secure {
				login[5] |= wantsTLS >> 8
			}
			login[3] = step
			expect(string(login))
			_, _ = io.WriteString(c, mysqlPacket(step+1, "\x01\x04"))
			expect(mysqlPacket(step+2, "secret\x00"))
			_, _ = io.WriteString(c, mysqlPacket(step+3, "\x00\x00\x00\x02\x00\x00\x00"))
			expect(mysqlPacket(0, "\x0e"))
			_, _ = io.WriteString(c, mysqlPacket(1, "\x00\x00\x00\x02\x00\x00\x00"))
			expect(mysqlPacket(0, "\x01"))
		})
		_, conn := exchangeWith(t, addr, told)
		wantRead(t, conn, mysqlGreeting(0xffff))
		for _, turn := range [][2]string{
			{mysqlLogin(protocol41, "app"), mysqlPacket(2, "\x01\x04")},
			{mysqlPacket(3, "secret\x00"), mysqlPacket(4, "\x00\x00\x00\x02\x00\x00\x00")},
			{mysqlPacket(0, "\x0e"), mysqlPacket(1, "\x00\x00\x00\x02\x00\x00\x00")},
		} {
			for _, b := range []byte(turn[0]) { // in pieces
				_, err := conn.Write([]byte{b})
				wantNil(t, err)
			}
			wantRead(t, conn, turn[1])
		}
		_, err := io.WriteString(conn, mysqlPacket(0, "\x01"))
		wantNil(t, err)
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%v: got %v, want the end", told, err)
		}
	}
}

// What a server without TLS, with an error in place of its greeting, or without
// patience says is not lost, and neither is a client that leaves.
func TestMySQLBehindAMetadataExchangeIsHeard(t *testing.T) {
	t.Parallel()
	full := mysqlPacket(0, "\xff\x10\x04Too many connections")
	ownTLS := mysqlPacket(1, mysqlLogin(protocol41|wantsTLS, "")[4:tlsRequest41])
	for name, tt := range map[string]struct{ server, client string }{
		"no TLS":       {mysqlGreeting(0xffff &^ wantsTLS), mysqlLogin(protocol41, "app")},
		"own TLS":      {mysqlGreeting(0xffff), ownTLS},
		"full":         {full, ""},
		"out of time":  {mysqlGreeting(0xffff) + full, ""},
		"cut short":    {mysqlGreeting(0xffff)[:20], ""},
		"not MySQL":    {"SSH-2.0-x\r\n", ""},
		"says nothing": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := backend(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
				_, _ = io.WriteString(c, tt.server)
				if tt.client != "" {
					_, _ = io.CopyN(c, c, int64(len(tt.client)))
				}
			})
			_, conn := exchangeWith(t, addr, mdx.TLS)
			wantRead(t, conn, tt.server)
			if tt.client != "" {
				_, err := io.WriteString(conn, tt.client)
				wantNil(t, err)
			}
			if got, err := io.ReadAll(conn); string(got) != tt.client || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, tt.client)
			}
		})
	}
}

// Programs with many connection attributes were cut off without a word, by an
// instance that checks IAM logins.
func TestMySQLLoginsMayHave64KiBOfAttributes(t *testing.T) {
	t.Parallel()
	login := func(attributes int) string {
		login := mysqlLogin(protocol41, "ann")
		return mysqlPacket(1, login[4:]+strings.Repeat("x", attributes))
	}
	for _, exchange := range []cloudsqltest.MetadataExchange{cloudsqltest.NoMetadataExchange, cloudsqltest.GreetFirst} {
		for size, passes := range map[int]bool{64 << 10: true, 70 << 10: false} {
			var log bytes.Buffer
			addr := backend(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
				_, _ = io.WriteString(c, mysqlGreeting(0))
				_, _ = io.Copy(c, c)
			})
			s := cloudsqltest.NewServer()
			s.Logger = slog.New(slog.NewTextHandler(&log, nil))
			c := newClient(t, s, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4", Backend: addr, MetadataExchange: exchange})
			conn, err := c.connect(c.loginAs(ann))
			wantNil(t, err)
			wantRead(t, conn, mysqlGreeting(0))
			_, err = io.WriteString(conn, login(size))
			if err = errors.Join(err, conn.CloseWrite()); passes { // or the instance has hung up
				wantNil(t, err)
			}
			got, _ := io.ReadAll(conn)
			_ = conn.Close()
			s.Close()
			if want := login(size); passes && string(got) != want || !passes && len(got) > 0 {
				t.Errorf("%v, %d bytes: %d came back", exchange, size, len(got))
			}
			if told := strings.Contains(log.String(), `msg="login refused"`) && strings.Contains(log.String(), "at most 69632 are taken"); told == passes {
				t.Errorf("%v, %d bytes: the log is\n%s", exchange, size, log.String())
			}
		}
	}
}
