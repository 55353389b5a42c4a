package faults_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// patient is a connection while others sit in its Read, its Write, or both.
type patient struct {
	t      *testing.T
	server *cloudsqltest.Server
	names  *names
	dialer *cloudsqlconn.Dialer
	conn   net.Conn
	over   chan struct{}  // lets handlers return
	end    chan struct{}  // lets the instance end the connection
	wg     sync.WaitGroup // counts who sits in Read and Write
}

// newPatient connects to an instance that neither reads nor writes.
func newPatient(t *testing.T, s *cloudsqltest.Server, cfg cloudsqltest.Instance) *patient {
	p := &patient{t: t, server: s, names: new(names), over: make(chan struct{}), end: make(chan struct{})}
	p.names.set(testInstance, nil)
	cfg.Handler = func(net.Conn) {
		select {
		case <-p.over:
		case <-p.end:
		}
	}
	s.AddInstance(testInstance, cfg)
	s.AddInstance(otherInstance, cloudsqltest.Instance{})
	var err error
	p.dialer, err = cloudsqlconn.NewDialer(context.Background(), append(s.Options(), cloudsqlconn.WithResolver(p.names))...)
	if err == nil {
		p.conn, err = p.dialer.Dial(t.Context(), testDomain, cloudsqlconn.WithMetadataExchange(true))
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stop ends everything.
func (p *patient) stop() {
	_ = p.conn.Close()
	p.wg.Wait() // Close ends them
	close(p.over)
	_ = p.dialer.Close()
	p.server.Close()
}

func (p *patient) read() {
	for b := make([]byte, 1<<10); ; {
		if _, err := p.conn.Read(b); err != nil {
			return
		}
	}
}

// write writes more than any buffer takes.
func (p *patient) write() { _, _ = p.conn.Write(make([]byte, 32<<20)) }

// cut has the name lead to another instance.
func (p *patient) cut() {
	p.names.set(otherInstance, nil)
	c, err := p.dialer.Dial(p.t.Context(), testDomain)
	if err != nil {
		p.t.Error(err)
		return
	}
	_ = c.Close()
}

// methodCall is a call of a method.
type methodCall struct {
	name string
	call func()
}

// steps are the calls of all methods of what Dial returns, but Read and Write.
func (p *patient) steps() []methodCall {
	c := p.conn.(interface {
		net.Conn
		CloseWrite() error
		ConnectionState() tls.ConnectionState
		NetConn() net.Conn
	})
	info, _ := cloudsqlconn.InfoOf(c)
	later := time.Now().Add(time.Hour)
	steps := []methodCall{
		{"LocalAddr", func() { c.LocalAddr() }},
		{"RemoteAddr", func() { c.RemoteAddr() }},
		{"InfoOf", func() { cloudsqlconn.InfoOf(c) }},
		{"InnerTLS", func() { _, _ = info.InnerTLS(p.t.Context()) }},
		{"LoginPrincipal", func() { _, _ = info.LoginPrincipal(p.t.Context()) }},
		{"ExchangeMetadata", func() { info.ExchangeMetadata() }},
		{"ConnectionState", func() { c.ConnectionState() }},
		{"NetConn", func() { c.NetConn() }},
		{"SetDeadline", func() { _ = c.SetDeadline(later) }},
		{"SetReadDeadline", func() { _ = c.SetReadDeadline(later) }},
		{"SetWriteDeadline", func() { _ = c.SetWriteDeadline(time.Time{}) }},
	}
	if socket, ok := p.conn.(syscall.Conn); ok {
		raw, err := socket.SyscallConn()
		if err != nil {
			p.t.Fatal(err)
		}
		for _, enough := range []bool{true, false} {
			steps = append(steps,
				methodCall{"SyscallConn", func() { _, _ = socket.SyscallConn() }},
				methodCall{"Control", func() { _ = raw.Control(func(uintptr) {}) }},
				methodCall{"raw Write", func() { _ = raw.Write(func(uintptr) bool { return enough }) }},
				methodCall{"raw Read", func() { _ = raw.Read(func(uintptr) bool { return enough }) }})
		}
	}
	return append(steps, methodCall{"CloseWrite", func() { _ = c.CloseWrite() }}, methodCall{"Close", func() { _ = c.Close() }})
}

// A pool that looked at an idle connection waited for ever when a Read was
// pending on it, and so did everything that took the same lock. Nothing that a
// driver calls on a connection waits for a Read or a Write in progress.
func TestNoMethodWaitsForAReadOrAWrite(t *testing.T) {
	t.Parallel()
	wantKey(t)
	type sitter struct {
		name string
		in   []func(*patient)
	}
	sitters := []sitter{
		{"nobody", nil},
		{"in Read", []func(*patient){(*patient).read}},
		{"in Write", []func(*patient){(*patient).write}},
		{"in both", []func(*patient){(*patient).read, (*patient).write}},
	}
	states := []struct {
		name  string
		cfg   cloudsqltest.Instance
		enter func(*patient) // after all sit
	}{
		{"fresh", cloudsqltest.Instance{}, nil},
		{"exchange pending", cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", MetadataExchange: cloudsqltest.AcceptMetadataSilently}, nil},
		{"closed by the server", cloudsqltest.Instance{}, func(p *patient) { close(p.end) }},
		{"cut by failover", cloudsqltest.Instance{}, (*patient).cut},
	}
	for _, state := range states {
		for _, who := range sitters {
			t.Run(state.name+", "+who.name+", memory", func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					p := newPatient(t, cloudsqltest.NewMemoryServer(), state.cfg)
					defer p.stop()
					for _, sit := range who.in {
						p.wg.Go(func() { sit(p) })
					}
					synctest.Wait()
					if state.enter != nil {
						state.enter(p)
						synctest.Wait()
					}
					for _, s := range p.steps() {
						if d := took(s.call); d > 0 {
							t.Errorf("%s waited %v", s.name, d)
						}
					}
				})
			})
			t.Run(state.name+", "+who.name+", socket", func(t *testing.T) {
				t.Parallel()
				p := newPatient(t, cloudsqltest.NewServer(), state.cfg)
				done := make(chan struct{})
				now := make(chan string, 100)
				go func() {
					defer close(done)
					defer p.stop()
					for _, sit := range who.in {
						p.wg.Go(func() { sit(p) })
					}
					now <- "waiting for a look that finds it busy"
					if len(who.in) > 0 {
						p.waitBusy()
					}
					now <- "entering the state"
					if state.enter != nil {
						state.enter(p)
					}
					for _, s := range p.steps() {
						now <- s.name
						s.call()
					}
					now <- "Reads and Writes, after Close"
				}()
				select {
				case <-done:
				case <-time.After(time.Minute): // for a test that hangs only
					last := ""
					for len(now) > 0 {
						last = <-now
					}
					t.Fatalf("%s waits", last)
				}
			})
		}
	}
}

// waitBusy waits until somebody sits in Read or Write.
func (p *patient) waitBusy() {
	raw, err := p.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		p.t.Error(err)
		return
	}
	for !errors.Is(raw.Read(func(uintptr) bool { return true }), tlsconn.ErrBusy) {
		runtime.Gosched()
	}
}

// A Close took 5 s if the server did not read: crypto/tls waits that long to tell
// it of the end.
func TestCloseHardlyWaitsForAServerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	wantKey(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, cloudsqltest.NewMemoryServer(), cloudsqltest.Instance{})
		defer p.stop()
		_ = p.conn.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := p.conn.Write(make([]byte, 16<<20)); err == nil || n == 0 {
			t.Fatalf("the fault did not happen: the server reads: %d, %v", n, err)
		}
		if d := took(func() { _ = p.conn.Close() }); d > 250*time.Millisecond {
			t.Errorf("Close took %v", d)
		}
	})
}
