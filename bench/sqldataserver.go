package bench

import (
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// startStreams starts SQL Data, with the certificate of front. Whatever instance
// is named, what answers speaks the commands of this package.
func (s *kitServer) startStreams() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.stream = l.Addr().String()
	desc := wire.Desc
	desc.Handler = func(_ any, stream grpc.ServerStream) error {
		c := &streamOf{stream: stream}
		if err := c.start(); err != nil {
			return err
		}
		serve(c)
		return nil
	}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewServerTLSFromCert(&s.front.TLS.Certificates[0])),
		grpc.ForceServerCodecV2(wire.Codec),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}),
	)
	server.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, Streams: []grpc.StreamDesc{desc}}, nil)
	go func() { _ = server.Serve(l) }() // ends with the process
	return nil
}

// streamOf is the server's end of a stream. Each Write is a message.
type streamOf struct {
	stream grpc.ServerStream
	m      wire.Request // the last one
}

// start accepts the session.
func (c *streamOf) start() error {
	if err := c.stream.RecvMsg(&c.m); err != nil {
		return err
	}
	if c.m.Start == nil {
		return errors.New("no session has been started")
	}
	return c.stream.SendMsg(&wire.Response{Metadata: &wire.Metadata{}})
}

func (c *streamOf) Read(b []byte) (int, error) {
	for c.m.Data == nil || c.m.Data.Len() == 0 {
		if err := c.stream.RecvMsg(&c.m); err != nil {
			return 0, err
		}
	}
	return c.m.Data.Read(b)
}

func (c *streamOf) Write(b []byte) (int, error) {
	return len(b), c.stream.SendMsg(wire.NewResponse(b))
}
