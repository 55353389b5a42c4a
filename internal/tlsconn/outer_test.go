//go:build unix

package tlsconn_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// inProxy returns a client and a server whose session runs in another, that with
// an https:// proxy; the proxy; and the client's socket.
func inProxy(t *testing.T) (client *tlsconn.Conn, server *tls.Conn, proxy *forger, socket *net.TCPConn) {
	t.Helper()
	outer, proxy, socket := pairOf(t, tlsconn.Outer)
	client = tlsconn.Client(outer, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	server = tls.Server(proxy, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true})
	var wg sync.WaitGroup
	wg.Go(func() { wantNil(t, client.Handshake()) })
	wantNil(t, server.Handshake())
	wg.Wait()
	wantNil(t, alive(t, client))
	return client, server, proxy, socket
}

// watched fails the test if f hangs.
func watched(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute): // for a test that hangs only
		t.Fatalf("%s hangs", what)
	}
}

// A look at a connection through an https:// proxy waited for the rest of the
// proxy's record when only a piece of it had come.
func TestALookDoesNotWaitForThePieceOfAnOuterRecord(t *testing.T) {
	t.Parallel()
	client, server, proxy, socket := inProxy(t)
	record := proxy.record(handshake, newSessionTicket)
	for i := range record {
		proxy.send(record[i : i+1])
		waitHeard(t, socket)
		watched(t, "a look", func() { wantNil(t, alive(t, client)) })
	}
	_, err := io.WriteString(server, "hello")
	wantNil(t, err)
	waitHeard(t, socket)
	for range 2 {
		watched(t, "a look", func() {
			if err := alive(t, client); !errors.Is(err, tlsconn.ErrData) {
				t.Errorf("got %v, want ErrData", err)
			}
		})
	}
	wantRead(t, client, "hello")
	wantNil(t, alive(t, client))
}

// An alert of an https:// proxy was taken for one of the instance: for a refusal
// of the client certificate, which was then replaced.
func TestAnAlertOfTheProxyIsNoneOfTheServer(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*tlsconn.Conn) error{
		"Read": func(c *tlsconn.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"look": func(c *tlsconn.Conn) error { return alive(t, c) },
	} {
		t.Run(name, func(t *testing.T) {
			client, _, proxy, socket := inProxy(t)
			proxy.send(proxy.record(alert, internalError))
			waitHeard(t, socket)
			err := ask(client)
			if op, ok := errors.AsType[*net.OpError](err); err == nil || ok && op.Op == "remote error" {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What a server's new key has the client answer goes out with the next Write: a
// look must not wait for a server that does not read.
func TestALookDoesNotWaitForAServerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	c, f, socket := pair(t)
	big := make([]byte, 32<<20)
	written := 0
	for full := false; !full; { // all buffers
		wantNil(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		n, err := c.Write(big)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the fault did not happen: the server reads: %v", err)
		}
		written += n
		full = written > 0 && n <= 16<<10
	}
	wantNil(t, c.SetWriteDeadline(time.Time{}))
	f.send(f.record(handshake, keyUpdateWanted))
	waitHeard(t, socket)
	watched(t, "a look", func() { wantNil(t, alive(t, c)) })

	// While a Write waits it cannot tell.
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := c.Write(append(big, "end"...))
		wantNil(t, err)
	})
	watched(t, "a look", func() {
		for !errors.Is(alive(t, c), tlsconn.ErrBusy) {
			runtime.Gosched()
		}
	})
	b := make([]byte, written+len(big)+len("end"))
	_, err := io.ReadFull(f.Conn, b)
	wantNil(t, err)
	wg.Wait()
	if string(b[written+len(big):]) != "end" {
		t.Error("something is lost after a Write that has met its deadline")
	}
}
