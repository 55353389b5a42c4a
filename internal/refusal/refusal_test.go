package refusal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refusal"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// told runs Tell, and what a client does meanwhile. It returns how long Tell
// took.
func told(t *testing.T, engine string, client func(c *memnet.Conn)) (took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, s := memnet.Pair(memnet.Addr("client"), memnet.Addr("server"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			client(c)
			_ = c.Close()
		}()
		start := time.Now()
		err = refusal.Tell(s, engine, "no route\x00 to \xff it", "dig a tunnel")
		took = time.Since(start)
		_ = s.Close()
		<-done
	})
	return took, err
}

func TestPostgreSQLClientsAreTold(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]pgproto3.FrontendMessage{
		"at once":           nil,
		"after TLS":         {&pgproto3.SSLRequest{}},
		"after GSSAPI, TLS": {&pgproto3.GSSEncRequest{}, &pgproto3.SSLRequest{}},
	} {
		for _, engine := range []string{"POSTGRES_17", ""} {
			t.Run(name+", "+engine, func(t *testing.T) {
				t.Parallel()
				var got *pgproto3.ErrorResponse
				took, err := told(t, engine, func(c *memnet.Conn) {
					front := pgproto3.NewFrontend(c, c)
					for _, msg := range before {
						front.Send(msg)
						if front.Flush() != nil {
							return
						}
						var no [1]byte
						if _, err := io.ReadFull(c, no[:]); err != nil || no[0] != 'N' {
							t.Errorf("answer %q, %v", no, err)
						}
					}
					front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app"}})
					if front.Flush() != nil {
						return
					}
					msg, err := front.Receive()
					if err != nil {
						t.Error(err)
						return
					}
					got, _ = msg.(*pgproto3.ErrorResponse)
				})
				if err != nil || took != 0 {
					t.Fatalf("Tell took %v: %v", took, err)
				}
				if got == nil || got.Severity != "FATAL" || got.Code != "08006" || got.Message != "no route to  it" || got.Hint != "dig a tunnel" {
					t.Errorf("the client was told %+v", got)
				}
			})
		}
	}
}

func TestMySQLClientsAreTold(t *testing.T) {
	t.Parallel()
	for engine, want := range map[string]time.Duration{"MYSQL_8_4": 0, "": time.Second} {
		var packet []byte
		took, err := told(t, engine, func(c *memnet.Conn) { packet, _ = io.ReadAll(c) })
		if err != nil || took != want {
			t.Errorf("%q: Tell took %v: %v", engine, took, err)
		}
		if len(packet) < 7 || int(packet[0]) != len(packet)-4 || packet[3] != 0 || packet[4] != 0xff ||
			binary.LittleEndian.Uint16(packet[5:]) != 1105 || string(packet[7:]) != "no route to  it" {
			t.Errorf("%q: the client was told %q", engine, packet)
		}
	}
}

// dialed is a driver's connection.
type dialed struct{ net.Conn }

func (d dialed) DialContext(context.Context, string, string) (net.Conn, error) { return d, nil }
func (dialed) HostName() string                                                { return "db" } // so that the driver does not look it up

// A driver that does without TLS shows the message, another one says that it
// insists.
func TestSQLServerClientsAreTold(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"SQLSERVER_2022_WEB", ""} {
		for encrypt, want := range map[string]string{"disable": "no route to  it", "false": "no route to  it", "true": "does not support encryption"} {
			t.Run(engine+", encrypt="+encrypt, func(t *testing.T) {
				t.Parallel()
				var got error
				took, err := told(t, engine, func(c *memnet.Conn) {
					connector, err := mssql.NewConnector("sqlserver://app:secret@db?encrypt=" + encrypt)
					if err != nil {
						t.Error(err)
						return
					}
					connector.Dialer = dialed{c}
					_, got = connector.Connect(context.Background())
				})
				if got == nil || !strings.Contains(got.Error(), want) || took != 0 || (err == nil) != (encrypt != "true") {
					t.Errorf("Tell took %v: %v; the client was told %v", took, err, got)
				}
				var told mssql.Error
				if encrypt != "true" && (!errors.As(got, &told) || told.Number != 50000 || told.Class != 20) {
					t.Errorf("the client was told %#v", got)
				}
			})
		}
	}
}

func TestOthersAreToldNothing(t *testing.T) {
	t.Parallel()
	cancel := string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 16), 80877102)) + "12345678"
	for name, tt := range map[string]struct{ engine, sends string }{
		"not SQL Server":                 {"SQLSERVER_2022_WEB", "GET / HTTP/1.1\r\n\r\n"},
		"a packet that is too short":     {"SQLSERVER_2022_WEB", "\x12\x01\x00\x07\x00\x00\x00\x00"},
		"a message without end":          {"SQLSERVER_2022_WEB", strings.Repeat("\x12\x00\x80\x00\x00\x00\x00\x00"+strings.Repeat("x", 0x7ff8), 5)},
		"cancel request":                 {"POSTGRES_17", cancel},
		"not PostgreSQL":                 {"POSTGRES_17", "GET / HTTP/1.1\r\n\r\n"},
		"a length that is too short":     {"POSTGRES_17", "\x00\x00\x00\x07\x00\x03\x00\x00"},
		"only half of the first message": {"POSTGRES_17", "\x00\x00\x00"},
		"TLS again and again":            {"", strings.Repeat("\x00\x00\x00\x08\x04\xd2\x16\x2f", 9)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []byte
			took, _ := told(t, tt.engine, func(c *memnet.Conn) {
				_, _ = io.WriteString(c, tt.sends)
				_ = c.CloseWrite()
				got, _ = io.ReadAll(c)
			})
			if rest := strings.Trim(string(got), "N"); rest != "" || took != 0 {
				t.Errorf("after %v the client was told %q", took, got)
			}
		})
	}
}

func TestASilentPostgreSQLClientIsGivenUp(t *testing.T) {
	t.Parallel()
	took, err := told(t, "POSTGRES_17", func(c *memnet.Conn) { _, _ = io.ReadAll(c) })
	if err == nil || took != 5*time.Second {
		t.Errorf("given up after %v with %v", took, err)
	}
}

func FuzzTell(f *testing.F) {
	f.Add("", []byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"), "no")
	f.Add("POSTGRES_17", []byte("\x00\x00\x00\x09\x00\x03\x00\x00\x00"), "no\x00")
	f.Add("SQLSERVER_2022_WEB", []byte("\x12\x01\x00\x08\x00\x00\x00\x00\x10\x01\x00\x09\x00\x00\x00\x00x"), "no")
	f.Add("MYSQL_8_4", []byte{}, strings.Repeat("x", 3000))
	f.Fuzz(func(t *testing.T, engine string, sends []byte, message string) {
		client, server := memnet.Pair(memnet.Addr("client"), memnet.Addr("server"))
		_, _ = client.Write(sends)
		_ = client.CloseWrite()
		_ = refusal.Tell(server, engine, message, message)
		_ = server.Close()
		if reply, _ := io.ReadAll(client); len(reply) > 5000 {
			t.Errorf("%d bytes", len(reply))
		}
	})
}

// For an engine that is not known, the client is waited for.
func TestTheProtocolOfEveryEngineIsKnown(t *testing.T) {
	t.Parallel()
	silent := func(*memnet.Conn) { time.Sleep(time.Minute) }
	unknown, _ := told(t, "UNKNOWN_1", silent)
	for _, e := range engine.All {
		if took, _ := told(t, string(e)+"_1", silent); took == unknown {
			t.Errorf("%s is not known: Tell took %v", e, took)
		}
	}
}
