package cloudsqltest

import (
	"math"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/h2"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// sqlDataConn is a TCP connection to the SQL Data service, with a gRPC server of
// its own.
type sqlDataConn struct {
	*h2.Conn
	service *SQLData
	wg      sync.WaitGroup // counts goroutines of streams
}

func newSQLDataConn(d *SQLData, raw net.Conn) *sqlDataConn {
	counter := func(n *int) func() { return func() { d.count(n) } }
	return &sqlDataConn{service: d, Conn: h2.NewConn(raw, d.tls, h2.Events{
		Ping:         counter(&d.counts.Pings),
		TooManyPings: counter(&d.counts.TooManyPings),
		GoneAway:     counter(&d.counts.GoneAway),
		Cut:          counter(&d.counts.Cut),
	})}
}

// serve serves until the connection has ended.
func (c *sqlDataConn) serve() {
	cfg := c.service.cfg
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(wire.Codec), grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: max(cfg.MinPingInterval, 1), PermitWithoutStream: true}),
		grpc.UnknownServiceHandler(func(_ any, gs grpc.ServerStream) error {
			s := newStream(c, gs)
			return s.end(status.Error(codes.Unimplemented, "The method is not implemented."))
		}),
	}
	if cfg.MaxStreams > 0 {
		opts = append(opts, grpc.MaxConcurrentStreams(uint32(cfg.MaxStreams)))
	}
	g := grpc.NewServer(opts...)
	method := wire.Desc
	method.Handler = func(_ any, gs grpc.ServerStream) error {
		s := newStream(c, gs)
		return s.end(s.serve())
	}
	g.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{method}}, c)
	_ = g.Serve(&single{conn: c})
	g.Stop()
	c.wg.Wait()
	c.Finish()
}

// single is a listener that accepts one connection, and ends with it.
type single struct {
	conn     *sqlDataConn
	accepted bool
}

func (l *single) Accept() (net.Conn, error) {
	if !l.accepted {
		l.accepted = true
		return l.conn, nil
	}
	<-l.conn.Closed()
	return nil, net.ErrClosed
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }
