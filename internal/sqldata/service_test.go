package sqldata_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

var session = wire.NewSession("my-project", "europe-west1", "my-db")

// world is a service in memory that does what a script says, and a client of it.
type world struct {
	t        *testing.T
	listener *memnet.Listener
	client   *sqldata.Client
	route    *sqldata.Route
	dials    atomic.Int64 // TCP connections
	streams  atomic.Int64 // that have begun
	open     atomic.Int64 // that have not ended

	mu    sync.Mutex
	conns []*holeConn // of the client
}

// holeConn is a connection whose network can go: what is sent is swallowed, and
// nothing comes.
type holeConn struct {
	*memnet.Conn
	hole   atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (c *holeConn) Write(b []byte) (int, error) {
	if c.hole.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *holeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.hole.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *holeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// tcp returns the client's nth TCP connection.
func (w *world) tcp(n int) *holeConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conns[n]
}

// connected is how many TCP connections the client has not closed.
func (w *world) connected() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		select {
		case <-c.closed:
		default:
			n++
		}
	}
	return n
}

// script is what the service does with a stream.
type script func(s stream) error

// stream is a stream as the service sees it.
type stream struct {
	grpc.ServerStream
}

func (s stream) recv() (*wire.Request, error) {
	m := new(wire.Request)
	return m, s.RecvMsg(m)
}

// start receives the start of the session, and accepts it.
func (s stream) start() error {
	m, err := s.recv()
	if err != nil {
		return err
	}
	if m.Start == nil {
		return status.Error(codes.InvalidArgument, "no session has been started")
	}
	return s.SendMsg(&wire.Response{Metadata: &wire.Metadata{}})
}

// read receives data.
func (s stream) read() (string, error) {
	m, err := s.recv()
	if err != nil || m.Data == nil {
		return "", err
	}
	b, _ := io.ReadAll(m.Data)
	return string(b), nil
}

func (s stream) write(text string) error { return s.SendMsg(wire.NewResponse([]byte(text))) }

func (s stream) terminate(code codes.Code, text string) error {
	return s.SendMsg(&wire.Response{Terminate: &spb.Status{Code: int32(code), Message: text}})
}

// echo sends back what it receives.
func echo(s stream) error {
	if err := s.start(); err != nil {
		return err
	}
	for {
		switch text, err := s.read(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		default:
			if err := s.write(text); err != nil {
				return err
			}
		}
	}
}

// inWorld runs a test in a bubble with a service, and sees that nothing is left.
func inWorld(t *testing.T, do script, test func(w *world), opts ...grpc.ServerOption) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, listener: memnet.Listen("127.0.0.1:443")}
		opts = append([]grpc.ServerOption{grpc.ForceServerCodecV2(wire.Codec), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second})}, opts...)
		server := grpc.NewServer(opts...)
		desc := wire.Desc
		desc.Handler = func(_ any, s grpc.ServerStream) error {
			w.streams.Add(1)
			w.open.Add(1)
			defer w.open.Add(-1)
			return do(stream{s})
		}
		server.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, Streams: []grpc.StreamDesc{desc}}, nil)
		served := make(chan error, 1)
		go func() { served <- server.Serve(w.listener) }()
		w.route = &sqldata.Route{Dial: w.dial}
		w.client = sqldata.New(sqldata.Config{Endpoint: sqldata.Endpoint{Host: "127.0.0.1", Port: "443", Plaintext: true}})
		test(w)
		w.client.Close()
		server.Stop()
		<-served
	})
}

func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.dials.Add(1)
	c, err := w.listener.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	hole := &holeConn{Conn: c.(*memnet.Conn), closed: make(chan struct{})}
	w.conns = append(w.conns, hole)
	return hole, nil
}

// connect opens a connection.
func (w *world) connect() *sqldata.Conn {
	w.t.Helper()
	c, err := w.client.Open(w.t.Context(), session, w.route)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// fill opens connections until there is a second TCP connection.
func (w *world) fill() (conns []*sqldata.Conn) {
	for w.dials.Load() < 2 {
		conns = append(conns, w.connect())
		synctest.Wait()
	}
	return conns
}

// wantRead reads exactly want.
func wantRead(t *testing.T, c io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %.100q, %v; want %.100q", b, err, want)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func write(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(c, text); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %d bytes, %v", n, len(text), err)
	}
}
