package sqldata_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// A TCP connection that came to stand right before a look, or a process that was
// starved of CPU, was taken for a server that allows no more streams: 100
// connections to a server without a limit made 62 TCP connections.
func TestAPlaceThatComesSoonIsWaitedFor(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		first := w.connect()
		time.AfterFunc(400*time.Millisecond, func() { _ = first.Close() })
		began := time.Now()
		c := w.connect()
		if took := time.Since(began); took != 400*time.Millisecond {
			t.Errorf("Open took %v", took)
		}
		if n := w.dials.Load(); n != 1 {
			t.Errorf("%d TCP connections, want 1", n)
		}
		_ = c.Close()
	}, grpc.MaxConcurrentStreams(1))
}

// A limit, once met or supposed, held for as long as there was any connection.
func TestALimitOfStreamsIsForgotten(t *testing.T) {
	t.Parallel()
	inWorld(t, echo, func(w *world) {
		var listener atomic.Pointer[memnet.Listener]
		listener.Store(w.listener)
		w.route = &sqldata.Route{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			w.dials.Add(1)
			return listener.Load().DialContext(ctx, network, addr)
		}}
		var conns []*sqldata.Conn
		for range 3 {
			conns = append(conns, w.connect())
		}
		limited := w.dials.Load()
		if limited < 3 {
			t.Fatalf("%d TCP connections: there is no limit", limited)
		}
		more := memnet.Listen("127.0.0.1:443") // of a server that allows more
		server := grpc.NewServer(grpc.ForceServerCodecV2(wire.Codec), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}))
		desc := wire.Desc
		desc.Handler = func(_ any, s grpc.ServerStream) error { return echo(stream{s}) }
		server.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, Streams: []grpc.StreamDesc{desc}}, nil)
		served := make(chan error, 1)
		go func() { served <- server.Serve(more) }()
		listener.Store(more)
		for range 5 { // there is always one
			time.Sleep(15 * time.Minute)
			conns = append(conns, w.connect())
		}
		before := w.dials.Load()
		for range 40 {
			conns = append(conns, w.connect())
		}
		if n := w.dials.Load() - before; n > 1 {
			t.Errorf("%d TCP connections for 40 streams", n)
		}
		for _, c := range conns {
			_ = c.Close()
		}
		w.client.Close()
		server.Stop()
		<-served
	}, grpc.MaxConcurrentStreams(1))
}

// A place on the first of two connections was of no use if the service says
// nothing first: only the second was looked at.
func TestAPlaceOnTheFirstConnectionIsTakenThoughASecondIsTried(t *testing.T) {
	t.Parallel()
	inWorld(t, func(s stream) error {
		if _, err := s.recv(); err != nil {
			return err
		}
		_, err := s.read()
		return err
	}, func(w *world) {
		first := w.connect()
		dial := w.route.Dial
		w.route.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if w.dials.Load() == 0 {
				return dial(ctx, network, addr)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		time.AfterFunc(3*time.Second, func() { _ = first.Close() })
		began := time.Now()
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		defer cancel()
		c, err := w.client.Open(ctx, session, w.route)
		if err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		_ = c.Close()
	}, grpc.MaxConcurrentStreams(1))
}
