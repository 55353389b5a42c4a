package faults_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// mysqlError is an error packet in place of a greeting.
func mysqlError(code uint16, text string) string {
	body := string(binary.LittleEndian.AppendUint16([]byte{0xff}, code)) + text
	return string([]byte{byte(len(body)), 0, 0, 0}) + body
}

// MySQL that is full, or does not want this host, was said not to answer.
func TestCheckKnowsWhyMySQLRefuses(t *testing.T) {
	for packet, want := range map[string]string{
		mysqlError(1040, "Too many connections"):                                                 "max_connections",
		mysqlError(1203, "User already has more than 'max_user_connections' active connections"): "max_connections",
		mysqlError(1129, "Host '10.0.0.1' is blocked because of many connection errors"):         "host_cache",
		mysqlError(1130, "Host '10.0.0.1' is not allowed to connect to this MySQL server"):       "SELECT user, host",
		mysqlError(1053, "Server shutdown in progress"):                                          "see its message",
	} {
		t.Run(packet[7:11], func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4", Handler: func(c net.Conn) { _, _ = io.WriteString(c, packet) }}, func(t *testing.T, w *world) {
				r := w.check(testInstance)
				last := r.Steps[len(r.Steps)-1]
				if last.Hop != cloudsqlconn.HopDatabase || !strings.HasPrefix(last.Hint, "The database answers, but ") || !strings.Contains(last.Hint, want) || !strings.Contains(last.Err.Error(), packet[7:]) {
					t.Errorf("got %v, hint %q", last.Err, last.Hint)
				}
			})
		})
	}
}

// Each address cost one of the errors by which MySQL blocks a host.
func TestCheckAsksMySQLOnce(t *testing.T) {
	for nodes, want := range map[int]int32{0: 1, 2: 3} { // the pool's own address leads to some node
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			var asked atomic.Int32
			greet := func(c net.Conn) {
				asked.Add(1)
				_, _ = io.WriteString(c, "\x0c\x00\x00\x00\x0a8.4.0\x00rest.")
				_, _ = io.Copy(io.Discard, c)
			}
			inWorld(t, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4", Handler: greet, Nodes: make([]cloudsqltest.Node, nodes)}, func(t *testing.T, w *world) {
				r := w.check(testInstance)
				if !r.OK() {
					t.Error(r)
				}
				tried := 0
				for _, s := range r.Steps {
					if s.Hop == cloudsqlconn.HopTLS && s.Result == cloudsqlconn.Passed {
						tried++
					}
				}
				if tried < 2*(nodes+1)-1 {
					t.Errorf("%d addresses were tried:\n%v", tried, r)
				}
				if got := asked.Load(); got != want {
					t.Errorf("MySQL was asked %d times, want %d", got, want)
				}
			})
		})
	}
}

// A client of MySQL whose database is down behind a good instance saw nothing but
// the end of its connection.
func TestServeTellsMySQLClientsThatTheDatabaseIsDown(t *testing.T) {
	for version, told := range map[string]bool{"MYSQL_8_4": true, "POSTGRES_17": false} {
		t.Run(version, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{DatabaseVersion: version, Handler: func(net.Conn) {}}, func(t *testing.T, w *world) {
				s := w.serve(testInstance)
				client := s.connect()
				text, err := io.ReadAll(client)
				_ = client.Close()
				if got := strings.Contains(string(text), "ended before the database answered"); got != told || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("the client was told %q, %v", text, err)
				}
				if n := w.instance.Counts().Handshakes; n != 1 {
					t.Errorf("%d handshakes, the fault did not happen", n)
				}
				s.stop()
				s.wantEnd(0)
			})
		})
	}
}

// A refused client certificate is told, too: it comes before the first byte.
func TestServeTellsMySQLClientsThatTheCertificateWasRefused(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_4", ClockSkew: 2 * time.Hour}, func(t *testing.T, w *world) {
		s := w.serve(testInstance)
		client := s.connect()
		text, _ := io.ReadAll(client)
		_ = client.Close()
		if !strings.Contains(string(text), "refuses the client certificate") {
			t.Errorf("the client was told %q", text)
		}
		if n := w.instance.Counts().Rejected; n != 1 {
			t.Errorf("%d rejected, the fault did not happen", n)
		}
		s.stop()
		s.wantEnd(0)
	})
}
