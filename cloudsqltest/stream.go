package cloudsqltest

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// stream is one stream of SQL Data. What the database reads and writes is one
// end of a connection in memory, near is the other.
type stream struct {
	conn   *sqlDataConn
	grpc   grpc.ServerStream
	record *Stream      // guarded by SQLData.mu
	fault  *StreamFault // never nil

	key      string            // project:instance, or "" if the client named none
	instance *EmulatedInstance // nil if there is no such instance
	link     *link
	near     *memnet.Conn
	halved   atomic.Bool // the client has ended its messages
	unserved atomic.Bool // there was no database
	over     chan error  // what ends the stream; the first counts
}

func newStream(c *sqlDataConn, gs grpc.ServerStream) *stream {
	ctx := gs.Context()
	s := &stream{conn: c, grpc: gs, over: make(chan error, 8)}
	s.record = &Stream{Time: time.Now(), Client: c.RemoteAddr().String()}
	s.record.Path, _ = grpc.Method(ctx)
	s.record.Header, _ = metadata.FromIncomingContext(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		s.record.Timeout = time.Until(deadline)
	}
	d := c.service
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streams = keep(d.streams, s.record, d.server.MaxRequests)
	return s
}

// end records how the stream ends.
func (s *stream) end(err error) error {
	ctx := s.grpc.Context()
	s.note(func(r *Stream) {
		switch {
		case ctx.Err() == nil:
			r.Status = status.Convert(err)
		case s.conn.Ended():
			r.Lost = true
		case errors.Is(ctx.Err(), context.Canceled):
			r.Canceled = true
		default:
			r.Status = status.FromContextError(ctx.Err())
		}
	})
	return err
}

// serve is the script of a stream. It returns its status.
func (s *stream) serve() error {
	token, err := s.authorize()
	if err != nil {
		return err
	}
	first, err := s.receive()
	switch {
	case err == io.EOF:
		return status.Error(codes.InvalidArgument, "The stream has no messages.")
	case err != nil:
		return err
	case first.Continue != nil:
		return StreamStatus(codes.Internal, "The session cannot be continued.", "RECONNECT_FAILED", 0).Err()
	case first.Start == nil:
		return status.Error(codes.InvalidArgument, "The first message must be start_session or continue_session.")
	}
	s.note(func(r *Stream) {
		r.Location, r.Instance, r.SessionID, r.AuthenticationType = first.Start.Location, first.Start.Instance, first.Start.ID, first.Start.AuthenticationType
	})
	refused := s.find(first.Start)
	s.consult()
	f := s.fault
	if f.Hang {
		return s.hang()
	}
	s.wait(f.Delay)
	if f.Status != nil && f.At == AtOpen {
		s.wait(f.After)
		return f.Status.Err()
	}
	if refused != nil {
		return refused
	}
	if first.Start.AuthenticationType != wire.AutoIAM {
		token = ""
	}
	return s.relay(token)
}

// consult finds out what goes wrong with the stream.
func (s *stream) consult() {
	var f *StreamFault
	if on := s.conn.service.server.OnStream; on != nil {
		var seen Stream
		s.note(func(r *Stream) { seen = *r })
		f = on(seen)
	}
	if p := s.instance; f == nil && p != nil {
		p.mu.Lock()
		f = p.streamFault
		p.mu.Unlock()
	}
	if f == nil {
		if rule := s.conn.service.server.ruleFor(s.key, StreamSQLData); rule != nil {
			f = rule.stream
		}
	}
	s.fault = s.meet(f)
}

// receive returns the client's next message.
func (s *stream) receive() (*wire.Request, error) {
	m := new(wire.Request)
	err := s.grpc.RecvMsg(m)
	if err == io.EOF {
		s.halved.Store(true)
		s.note(func(r *Stream) { r.HalfClosed = true })
	}
	if err != nil {
		return nil, err
	}
	s.note(func(r *Stream) { r.add(m) })
	return m, nil
}

// hang reads until the client gives up.
func (s *stream) hang() error {
	for {
		m, err := s.receive()
		switch {
		case err == io.EOF:
			<-s.grpc.Context().Done()
			return s.grpc.Context().Err()
		case err != nil:
			return err
		case m.Data != nil:
			m.Data.Free()
		}
	}
}

// wait returns after some time, or when the client has gone.
func (s *stream) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.grpc.Context().Done():
	}
}
