package faults_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// firstMessages is a PostgreSQL that keeps what each client says first. It
// answers a request for TLS, and hangs up on a request to cancel.
type firstMessages struct {
	mu   sync.Mutex // guards all
	said [][]byte
}

func (f *firstMessages) serve(c net.Conn) {
	for {
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		m := make([]byte, binary.BigEndian.Uint32(head)-4)
		if _, err := io.ReadFull(c, m); err != nil {
			return
		}
		f.mu.Lock()
		f.said = append(f.said, append(head, m...))
		f.mu.Unlock()
		switch binary.BigEndian.Uint32(m) {
		case 80877103:
			_, _ = c.Write([]byte{'N'})
		case 80877102:
			return
		default:
			_, _ = c.Write([]byte{'R'})
			_, _ = io.Copy(io.Discard, c)
		}
	}
}

// count returns how often a message was said.
func (f *firstMessages) count(m []byte) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, said := range f.said {
		if bytes.Equal(said, m) {
			n++
		}
	}
	return n
}

// message is a first message of a client.
func message(code uint32, more ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(more)))
	return append(binary.BigEndian.AppendUint32(b, code), more...)
}

var (
	startup    = message(3<<16, []byte("user\x00app\x00\x00")...)
	sslRequest = message(80877103)
	cancel     = message(80877102, 0, 0, 0, 7, 1, 2, 3, 4)
)

// say says messages to a new connection of the door, in pieces, and reads a byte
// after each but the last.
func (s *serving) say(messages ...[]byte) net.Conn {
	s.t.Helper()
	c := s.connect()
	for i, m := range messages {
		for piece := range slices.Chunk(m, 5) {
			if _, err := c.Write(piece); err != nil {
				s.t.Fatal(err)
			}
		}
		if i == len(messages)-1 {
			break
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			s.t.Fatal(err)
		}
	}
	return c
}

// Any node was dialled, and the query went on at another.
func TestARequestToCancelGoesToEveryNodeThatServeHasConnectionsTo(t *testing.T) {
	for name, before := range map[string][][]byte{"at once": {cancel}, "after a request for TLS": {sslRequest, cancel}} {
		t.Run(name, func(t *testing.T) {
			db := &firstMessages{}
			inWorld(t, cloudsqltest.Instance{Handler: db.serve, Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, w *world) {
				s := w.serve(testInstance)
				for range 6 { // two at each node
					defer s.say(startup).Close()
				}
				synctest.Wait()
				sessions := w.handshakes()
				c := s.say(before...)
				if rest, err := io.ReadAll(c); len(rest) != 0 || err != nil {
					t.Errorf("the client reads %q, %v", rest, err)
				}
				_ = c.Close()
				for i, n := range w.handshakes() {
					if n-sessions[i] != 1 {
						t.Errorf("node %d: %d connections for a request to cancel, want 1", i, n-sessions[i])
					}
				}
				if n := db.count(cancel); n != 3 {
					t.Errorf("%d servers have heard it, want 3", n)
				}
				if n := db.count(startup); n != 6 {
					t.Errorf("%d of 6 other clients were passed on", n)
				}
			})
		})
	}
}

func TestARequestToCancelIsNotHeldUpForLongByADeadNode(t *testing.T) {
	db := &firstMessages{}
	inWorld(t, cloudsqltest.Instance{Handler: db.serve, Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, w *world) {
		s := w.serve(testInstance)
		for range 3 {
			defer s.say(startup).Close()
		}
		synctest.Wait()
		dead := w.instance.Nodes()[0]
		dead.SetBehavior(cloudsqltest.Unreachable)
		for range 3 { // one of them begins with the dead node
			start := time.Now()
			c := s.say(cancel)
			_, _ = io.ReadAll(c)
			_ = c.Close()
			if d := time.Since(start); d > 6*time.Second {
				t.Errorf("it took %v", d)
			}
		}
		if n := db.count(cancel); n != 6 {
			t.Errorf("%d requests have reached the two others, want 6", n)
		}
		if dead.Counts().Swallowed == 0 {
			t.Error("the fault did not happen")
		}
	})
}

// What only looks like one is passed on, and nothing more.
func TestOtherBeginningsAreNoRequestsToCancel(t *testing.T) {
	for _, said := range [][]byte{
		{}, {0, 0, 0}, []byte("GET / HTTP/1.1\r\n\r\n"), message(80877102), {0, 1, 0, 0, 4, 210, 22, 46}, {0, 0, 0, 16, 4, 210, 22, 46, 1}, startup,
	} {
		t.Run(fmt.Sprintf("%q", said), func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 3)}, func(t *testing.T, w *world) {
				s := w.serve(testInstance)
				for range 3 {
					c := s.connect()
					if err := echo(c); err != nil {
						t.Fatal(err)
					}
					defer c.Close()
				}
				before := w.handshakes()
				c := s.connect()
				defer c.Close()
				if _, err := c.Write(said); err != nil {
					t.Fatal(err)
				}
				_ = c.(interface{ CloseWrite() error }).CloseWrite()
				if got, err := io.ReadAll(c); !bytes.Equal(got, said) || err != nil {
					t.Errorf("%q came back as %q, %v", said, got, err)
				}
				sum := 0
				for i, n := range w.handshakes() {
					sum += n - before[i]
				}
				if sum != 1 {
					t.Errorf("%q: %d connections, want 1", said, sum)
				}
			})
		})
	}
}
