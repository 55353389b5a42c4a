package cloudsqltest_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// The principals of the tests, and what they log in with.
const (
	ann     = "ann@example.com"
	service = "app@my-project.iam.gserviceaccount.com"
)

// loginAs returns the TLS configuration for a certificate with a token of the
// principal.
func (c *client) loginAs(principal string) *tls.Config {
	c.s.Principals = map[string]string{"their-token": principal, "somebody-else's": "bob@example.com"}
	return withCertificate(c.certificate("access_token", "their-token"), c.config())
}

// postgresMessage is a message without a type: a startup message, if code is
// postgresVersion.
func postgresMessage(code uint32, body string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return string(binary.BigEndian.AppendUint32(b, code)) + body
}

const (
	postgresVersion = 3 << 16
	postgresCancel  = 80877102
	postgresTLS     = 80877103
	postgresGSS     = 80877104
)

func startup(user string) string {
	return postgresMessage(postgresVersion, "database\x00shop\x00user\x00"+user+"\x00\x00")
}

// mysqlLogin is a HandshakeResponse.
func mysqlLogin(capabilities uint32, user string) string {
	body := binary.LittleEndian.AppendUint32(nil, capabilities)
	body = append(body, make([]byte, 28)...)
	body = append(body, user+"\x00\x00shop\x00"...)
	return mysqlPacket(1, string(body))
}

func mysqlPacket(sequence byte, body string) string {
	return string([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), sequence}) + body
}

// mysqlGreeting has a server's version, and the lower half of its capabilities
// in the middle.
func mysqlGreeting(capabilities uint16) string {
	lower := string(binary.LittleEndian.AppendUint16(nil, capabilities))
	return mysqlPacket(0, "\x0a8.0.40\x00"+"\x01\x02\x03\x04"+"saltsalt"+"\x00"+lower+"\xff\x02\x00\xff\xdf\x15"+strings.Repeat("\x00", 10)+"moresaltmore\x00caching_sha2_password\x00")
}

func TestIAMLoginAsThePrincipalPasses(t *testing.T) {
	const protocol41, wantsTLS = 1 << 9, 1 << 11
	greeting := func(c net.Conn) {
		for _, b := range []byte(mysqlGreeting(0xffff)) { // in pieces
			_, _ = c.Write([]byte{b})
		}
		_, _ = io.Copy(c, c)
	}
	for _, tt := range []struct {
		name, principal string
		cfg             cloudsqltest.Instance
		greeting, send  string
		answer          string
	}{
		{"PostgreSQL, a user", ann, cloudsqltest.Instance{}, "", startup(ann), startup(ann)},
		{"PostgreSQL, a service account", service, cloudsqltest.Instance{}, "", startup("app@my-project.iam") + "more", startup("app@my-project.iam") + "more"},
		{"PostgreSQL, a known user", ann, cloudsqltest.Instance{IAMUsers: []string{service, ann}}, "", startup(ann), startup(ann)},
		{"PostgreSQL, whoever the user is", ann, cloudsqltest.Instance{AnyIAMUser: true, IAMUsers: []string{service}}, "", startup("bob"), startup("bob")},
		{"PostgreSQL, after TLS and GSS are declined", ann, cloudsqltest.Instance{}, "", postgresMessage(postgresGSS, "") + postgresMessage(postgresTLS, "") + startup(ann), "NN" + startup(ann)},
		{"PostgreSQL, a cancellation", ann, cloudsqltest.Instance{}, "", postgresMessage(postgresCancel, "12345678"), postgresMessage(postgresCancel, "12345678")},
		{"PostgreSQL, behind a metadata exchange", ann, cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata}, "", startup(ann), startup(ann)},
		{"MySQL, without the offer of TLS", ann, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", Handler: greeting}, mysqlGreeting(0xffff &^ wantsTLS), mysqlLogin(protocol41, "ann"), mysqlLogin(protocol41, "ann")},
		{"MySQL, a service account", service, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4"}, "", mysqlLogin(protocol41, "app") + "more", mysqlLogin(protocol41, "app") + "more"},
		{"SQL Server has no IAM login", ann, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD"}, "", "anything", "anything"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMemory(t, tt.cfg, func(t *testing.T, c *client) {
				conn, err := c.connect(c.loginAs(tt.principal))
				wantNil(t, err)
				defer conn.Close()
				wantRead(t, conn, tt.greeting)
				for _, b := range []byte(tt.send) {
					_, err = conn.Write([]byte{b})
					wantNil(t, err)
				}
				wantRead(t, conn, tt.answer)
				if n := c.p.Counts(); n.Denied != 0 || n.Handshakes != 1 {
					t.Errorf("got %+v", n)
				}
			})
		})
	}
}

func TestIAMLoginAsSomebodyElseIsRefused(t *testing.T) {
	const protocol41, wantsTLS = 1 << 9, 1 << 11
	const mysqlDenial = "\xff\x15\x04#28000Access denied for user '"
	for _, tt := range []struct {
		name, principal string
		cfg             cloudsqltest.Instance
		send, answer    string
	}{
		{"PostgreSQL, another user", ann, cloudsqltest.Instance{}, startup("postgres"), "SFATAL\x00VFATAL\x00C28000\x00MCloud SQL IAM user authentication failed for user \"postgres\"\x00\x00"},
		{"PostgreSQL, not the user's form", service, cloudsqltest.Instance{}, startup(service), "SFATAL\x00VFATAL\x00C28000\x00MCloud SQL IAM service account authentication failed for user \"" + service + "\"\x00\x00"},
		{"PostgreSQL, the last name counts", ann, cloudsqltest.Instance{}, postgresMessage(postgresVersion, "user\x00"+ann+"\x00user\x00postgres\x00\x00"), "user \"postgres\""},
		{"PostgreSQL, not of this instance", ann, cloudsqltest.Instance{IAMUsers: []string{service}}, startup(ann), "user \"" + ann + "\""},
		{"PostgreSQL, nobody", ann, cloudsqltest.Instance{IAMUsers: []string{}}, startup(""), "user \"\""},
		{"PostgreSQL, after TLS is declined", ann, cloudsqltest.Instance{}, postgresMessage(postgresTLS, "") + startup("postgres"), "user \"postgres\""},
		{"MySQL, another user", ann, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0"}, mysqlLogin(protocol41, "root"), "\x02" + mysqlDenial + "root'@"},
		{"MySQL, not the user's form", ann, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0"}, mysqlLogin(protocol41, ann), mysqlDenial + ann + "'@"},
		{"MySQL, the old protocol", ann, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0"}, mysqlLogin(0, "ann"), mysqlDenial + "'@"},
		{"MySQL, TLS that was not offered", ann, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0"}, mysqlLogin(protocol41|wantsTLS, "ann"), mysqlDenial + "'@"},
		{"MySQL, a short packet", ann, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0"}, mysqlPacket(1, "x"), mysqlDenial + "'@"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var reached bytes.Buffer
			tt.cfg.Handler = func(c net.Conn) { _, _ = io.Copy(&reached, c) }
			inMemory(t, tt.cfg, func(t *testing.T, c *client) {
				conn, err := c.connect(c.loginAs(tt.principal))
				wantNil(t, err)
				defer conn.Close()
				_, err = io.WriteString(conn, tt.send)
				wantNil(t, err)
				if got, err := io.ReadAll(conn); !strings.Contains(string(got), tt.answer) || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, tt.answer)
				}
				c.wantCounts(cloudsqltest.Counts{Accepted: 1, Handshakes: 1, Denied: 1})
				c.s.Close()
				if reached.Len() > 0 {
					t.Errorf("the database got %q", reached.String())
				}
			})
		})
	}
}

// The refusal arrives although the backend is left at the same time.
func TestRefusedLoginIsToldInFrontOfABackend(t *testing.T) {
	t.Parallel()
	addr := backend(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		_, _ = io.WriteString(c, mysqlGreeting(0))
		_, _ = io.Copy(io.Discard, c)
	})
	s := cloudsqltest.NewServer()
	defer s.Close()
	c := newClient(t, s, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", Backend: addr})
	config := c.loginAs(ann)
	const n = 30
	for range n {
		conn, err := c.connect(config)
		wantNil(t, err)
		wantRead(t, conn, mysqlGreeting(0))
		_, err = io.WriteString(conn, mysqlLogin(1<<9, "root"))
		wantNil(t, err)
		if got, err := io.ReadAll(conn); !strings.Contains(string(got), "Access denied for user 'root'@") || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		_ = conn.Close()
	}
	c.wantCounts(cloudsqltest.Counts{Accepted: n, Handshakes: n, Resumed: c.p.Counts().Resumed, Denied: n})
}

func TestLoginsAreNotCheckedWithoutAPrincipal(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		c.s.Principals = map[string]string{"another": ann}
		for _, config := range []*tls.Config{c.config(), withCertificate(c.certificate("access_token", c.s.LoginToken()), c.config())} {
			defer c.mustConnect(config).Close()
		}
	})
}

func TestTokenOfNobodyIsRefusedInCertificates(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		c.s.Principals = map[string]string{"their-token": ann}
		body := `{"public_key":` + string(must(json.Marshal(publicPEM(clientKey.Public())))) + `,"access_token":"nobody's"}`
		resp, text, err := c.send(t.Context(), "POST", instancePath+":generateEphemeralCert", body)
		if err != nil || resp.StatusCode != 400 {
			t.Errorf("got %v %s, %v", resp, text, err)
		}
	})
}

// A Handler may give up waiting and try again.
func TestDeadlineDoesNotEndTheCheckOfALogin(t *testing.T) {
	cfg := cloudsqltest.Instance{Handler: func(c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, err := c.Read(make([]byte, 1))
		if err, ok := err.(net.Error); ok && err.Timeout() {
			_, _ = io.WriteString(c, "late")
		}
		_ = c.SetReadDeadline(time.Time{})
		_, _ = io.Copy(c, c)
	}}
	inMemory(t, cfg, func(t *testing.T, c *client) {
		conn, err := c.connect(c.loginAs(ann))
		wantNil(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, startup(ann)[:5])
		wantNil(t, err)
		wantRead(t, conn, "late")
		_, err = io.WriteString(conn, startup(ann)[5:])
		wantNil(t, err)
		wantRead(t, conn, startup(ann))
	})
}

// Nothing reaches the database but a login of the principal's, or a
// cancellation.
func FuzzLogin(f *testing.F) {
	f.Add(true, []byte(startup(ann)))
	f.Add(true, []byte(postgresMessage(postgresTLS, "")+postgresMessage(postgresGSS, "")+startup("postgres")))
	f.Add(true, []byte(postgresMessage(postgresCancel, "12345678")))
	f.Add(true, []byte("\xff\xff\xff\xff\x00\x03\x00\x00user\x00"))
	f.Add(true, []byte("\x00\x00\x00\x00\x00\x03\x00\x00"))
	f.Add(false, []byte(mysqlLogin(1<<9, "ann")))
	f.Add(false, []byte(mysqlLogin(1<<9, "root")))
	f.Add(false, []byte("\xff\xff\xff\x01"))
	f.Add(false, []byte(mysqlPacket(1, "")))
	reached := make(chan []byte, 1)
	target := func(version string) func(t *testing.T) (*client, *tls.Config) {
		s := cloudsqltest.NewServer()
		f.Cleanup(s.Close)
		c := newClient(nil, s, cloudsqltest.Instance{DatabaseVersion: version, Handler: func(c net.Conn) {
			b, _ := io.ReadAll(c)
			reached <- b
		}})
		var config *tls.Config
		return func(t *testing.T) (*client, *tls.Config) {
			c.t = t
			if config == nil {
				config = c.loginAs(ann)
			}
			return c, config
		}
	}
	targets := map[bool]func(*testing.T) (*client, *tls.Config){true: target("POSTGRES_17"), false: target("MYSQL_8_0")}
	f.Fuzz(func(t *testing.T, postgres bool, sent []byte) {
		c, config := targets[postgres](t)
		conn, err := c.connect(config)
		wantNil(t, err)
		defer conn.Close()
		_, _ = conn.Write(sent)
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		got := <-reached
		cancellation := postgres && bytes.Contains(got, []byte("\x04\xd2\x16\x2e"))
		if len(got) > 0 && (!bytes.HasSuffix(sent, got) || !cancellation && !bytes.Contains(got, []byte("ann"))) {
			t.Errorf("sent %q, the database got %q", sent, got)
		}
	})
}
