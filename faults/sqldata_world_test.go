package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// serviceAddr is where SQL Data is in these tests.
const serviceAddr = "sqladmin.example.com:443"

// sqlDataService is SQL Data, in memory, which does what a script says.
type sqlDataService struct {
	w        *world
	listener *memnet.Listener
	down     atomic.Bool  // connections are refused
	dials    atomic.Int64 // of TCP

	mu      sync.Mutex // guards everything below
	script  script
	streams []*sqlDataStream // that have begun
}

// script is what the service does with a stream, of which the first message has
// been received. Its error is the stream's status.
type script func(s *sqlDataStream) error

// sqlDataStream is a stream as the service sees it.
type sqlDataStream struct {
	grpc.ServerStream
	session wire.Session
	header  metadata.MD
	began   time.Time
}

// accept accepts the session.
func (s *sqlDataStream) accept() error {
	return s.SendMsg(&wire.Response{Metadata: &wire.Metadata{}})
}

func (s *sqlDataStream) Write(b []byte) (int, error) { return len(b), s.SendMsg(wire.NewResponse(b)) }

// Read reads a message, which must fit.
func (s *sqlDataStream) Read(b []byte) (int, error) {
	m := new(wire.Request)
	if err := s.RecvMsg(m); err != nil || m.Data == nil {
		return 0, err
	}
	return m.Data.Read(b)
}

// echoes accepts the session, and sends back what comes.
func echoes(s *sqlDataStream) error {
	if err := s.accept(); err != nil {
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{s}, make([]byte, wire.MaxChunk))
	return err
}

// refuses is the script of a service that refuses every stream.
func refuses(code codes.Code, text string, details ...protoadapt.MessageV1) script {
	st := grpcstatus.New(code, text)
	if len(details) > 0 {
		var err error
		if st, err = st.WithDetails(details...); err != nil {
			panic(err)
		}
	}
	return func(*sqlDataStream) error { return st.Err() }
}

// unservedScript refuses as for an instance of another edition.
var unservedScript = refuses(codes.FailedPrecondition, wire.EditionRefusal+": ENTERPRISE")

// then does one thing with the first streams, and another with the others.
func then(first int, a, b script) script {
	var n atomic.Int64
	return func(s *sqlDataStream) error {
		if n.Add(1) <= int64(first) {
			return a(s)
		}
		return b(s)
	}
}

// sleep waits, and reports whether the stream has lasted as long.
func (s *sqlDataStream) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.Context().Done():
		return false
	}
}

// saysNothing says nothing, and ends when the stream does.
func saysNothing(s *sqlDataStream) error {
	<-s.Context().Done()
	return s.Context().Err()
}

func (s *sqlDataService) does(do script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = do
}

func (s *sqlDataService) handle(_ any, stream grpc.ServerStream) error {
	m := new(wire.Request)
	if err := stream.RecvMsg(m); err != nil {
		return err
	}
	if m.Start == nil {
		return grpcstatus.Error(codes.InvalidArgument, "no session has been started")
	}
	header, _ := metadata.FromIncomingContext(stream.Context())
	began := &sqlDataStream{ServerStream: stream, session: *m.Start, header: header, began: time.Now()}
	s.mu.Lock()
	s.streams = append(s.streams, began)
	do := s.script
	s.mu.Unlock()
	return do(began)
}

// begun returns the streams that have begun.
func (s *sqlDataService) begun() []*sqlDataStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.streams)
}

// wantStreams checks how many streams have begun.
func (s *sqlDataService) wantStreams(want int) {
	s.w.t.Helper()
	if got := len(s.begun()); got != want {
		s.w.t.Fatalf("%d streams have begun, want %d", got, want)
	}
}

// dial leads to the service and to the instances.
func (s *sqlDataService) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr != serviceAddr {
		return s.w.DialContext(ctx, network, addr)
	}
	s.dials.Add(1)
	if s.down.Load() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
	}
	return s.listener.DialContext(ctx, network, addr)
}

// options lead a Dialer to the service.
func (s *sqlDataService) options(mode cloudsqlconn.SQLDataMode) cloudsqlconn.Option {
	return cloudsqlconn.Options(cloudsqlconn.WithSQLData(mode), cloudsqlconn.WithSQLDataEndpoint("http://"+serviceAddr), cloudsqlconn.WithDialFunc(s.dial))
}

// withService gives a world the service, and a Dialer that uses it.
func (w *world) withService(do script, mode cloudsqlconn.SQLDataMode, opts ...cloudsqlconn.Option) (s *sqlDataService, stop func()) {
	w.t.Helper()
	s = &sqlDataService{w: w, listener: memnet.Listen(serviceAddr), script: do}
	server := grpc.NewServer(grpc.ForceServerCodecV2(wire.Codec), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}))
	desc := wire.Desc
	desc.Handler = s.handle
	server.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, Streams: []grpc.StreamDesc{desc}}, nil)
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	w.withOptions(append([]cloudsqlconn.Option{s.options(mode)}, opts...)...)
	return s, func() {
		_ = w.dialer.Close()
		server.Stop()
		<-served
	}
}

// inSQLDataWorld is inWorld with the service.
func inSQLDataWorld(t *testing.T, mode cloudsqlconn.SQLDataMode, do script, test func(t *testing.T, w *world, s *sqlDataService), opts ...cloudsqlconn.Option) {
	t.Helper()
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		s, stop := w.withService(do, mode, opts...)
		defer stop()
		test(t, w, s)
	})
}

// mustDial dials, for as long as it takes.
func (w *world) mustDial(opts ...cloudsqlconn.DialOption) net.Conn {
	w.t.Helper()
	c, err := w.dialer.Dial(context.Background(), testInstance, opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// byStream reports whether a connection is a stream.
func byStream(c net.Conn) bool { return c.RemoteAddr().Network() == "grpc" }
