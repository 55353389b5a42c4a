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
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// stream is one stream of SQL Data. What the database reads and writes is one
// end of a connection in memory, near is the other.
type stream struct {
	conn   *http2Conn
	grpc   grpc.ServerStream
	record *Stream      // guarded by SQLData.mu
	fault  *StreamFault // never nil

	key      string // project:instance, or "" if the client named none
	proxy    *Proxy // nil if there is no such instance
	link     *link
	near     *memnet.Conn
	halved   atomic.Bool // the client has ended its messages
	unserved atomic.Bool // there was no database
	over     chan error  // what ends the stream; the first counts
}

func newStream(c *http2Conn, gs grpc.ServerStream) *stream {
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
		case s.conn.ended.Load():
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
	if p := s.proxy; f == nil && p != nil {
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

// add counts a message.
func (r *Stream) add(m *wire.Request) {
	r.Messages++
	if m.Ack != nil {
		r.Acks++
	}
	if m.Data != nil {
		r.Data++
		r.Received += int64(m.Data.Len())
		r.Largest, r.Offset = max(r.Largest, m.Data.Len()), max(r.Offset, m.Data.Offset)
	}
	r.Terminated = r.Terminated || m.Terminate != nil
	for _, n := range m.Unknown {
		r.Unknown = append(r.Unknown, int32(n))
	}
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

// relay connects the stream with the database, until one of them ends.
func (s *stream) relay(token string) error {
	p, f := s.proxy, s.fault
	near, far := memnet.Pair(s.conn.LocalAddr(), s.conn.RemoteAddr())
	defer near.Close()
	s.near = near
	if s.link = p.admitStream(s, far, token); s.link == nil {
		_ = far.Close()
		return disconnected()
	}
	p.logInfo("stream", "client", s.conn.RemoteAddr(), "iam", token != "")
	if f.Metadata == MetadataFirst {
		if err := s.send(&wire.Response{Metadata: &wire.Metadata{}}); err != nil {
			return err
		}
	}
	if f.Status != nil && f.At == AfterMetadata {
		if f.After <= 0 {
			return f.Status.Err()
		}
		defer s.endAfter(f.After).Stop()
	}
	if !f.StopReading {
		s.conn.wg.Go(s.up)
	}
	s.conn.wg.Go(s.down)
	select {
	case err := <-s.over:
		return err
	case <-s.grpc.Context().Done():
		return s.grpc.Context().Err()
	}
}

// endAfter ends the stream with the status of its fault.
func (s *stream) endAfter(d time.Duration) *time.Timer {
	return time.AfterFunc(d, func() { s.over <- s.fault.Status.Err() })
}

// up passes on what the client sends.
func (s *stream) up() {
	for {
		m, err := s.receive()
		switch {
		case err == io.EOF:
			_ = s.near.CloseWrite()
			return // the database may have something to say
		case err != nil:
			return // the stream has ended
		case m.Terminate != nil:
			s.over <- StreamStatus(codes.Canceled, "The client has closed the connection.", "DB_CLIENT_CLOSED", 0).Err()
			return
		case m.Data != nil:
			_, err := io.Copy(s.near, onlyReader{m.Data})
			m.Data.Free()
			if err != nil {
				_ = s.hang() // down tells why
				return
			}
		}
	}
}

// onlyReader is a reader and nothing else.
type onlyReader struct{ io.Reader }

// down passes on what the database sends.
func (s *stream) down() {
	f := s.fault
	if f.Flood > 0 {
		zeros := make([]byte, f.Flood)
		for i := 0; f.FloodMessages <= 0 || i < f.FloodMessages; i++ {
			if s.sendData(zeros) != nil {
				return // the stream has ended
			}
		}
	}
	chunk := f.Chunk
	if chunk <= 0 {
		chunk = wire.MaxChunk
	}
	buf := make([]byte, chunk)
	for first := true; ; first = false {
		n, err := s.near.Read(buf)
		if err != nil {
			s.over <- s.ended()
			return
		}
		if first && f.Metadata == MetadataWithData && s.send(&wire.Response{Metadata: &wire.Metadata{}}) != nil {
			return
		}
		if s.sendData(buf[:n]) != nil {
			return
		}
		if first && f.Status != nil && f.At == AfterData {
			if f.After <= 0 {
				s.over <- f.Status.Err()
				return
			}
			defer s.endAfter(f.After).Stop()
		}
	}
}

// sendData sends a message with data, after the noise.
func (s *stream) sendData(b []byte) error {
	if s.fault.Noise {
		unknown := protowire.AppendTag(nil, 100, protowire.BytesType)
		unknown = protowire.AppendString(unknown, "from the future")
		var received int64
		s.note(func(r *Stream) { received = r.Received })
		for _, m := range []any{wire.Raw(unknown), wire.NewResponse(nil), &wire.Response{Ack: &received}} {
			if err := s.send(m); err != nil {
				return err
			}
		}
	}
	s.note(func(r *Stream) { r.Sent += int64(len(b)) })
	return s.send(wire.NewResponse(b))
}

func (s *stream) send(m any) error {
	if r, ok := m.(*wire.Response); ok && r.Metadata != nil {
		s.note(func(r *Stream) { r.Metadata = true })
	}
	return s.grpc.SendMsg(m)
}

// ended is the end of a stream whose database has closed the connection.
func (s *stream) ended() error {
	s.proxy.mu.Lock()
	cut := !s.link.open
	s.proxy.mu.Unlock()
	switch {
	case cut:
		return disconnected()
	case s.unserved.Load():
		return status.Error(codes.Unavailable, "The database does not accept connections.")
	case s.fault.End == EndOK:
		return nil
	case s.fault.End == EndTerminate:
		return s.send(&wire.Response{Terminate: status.New(codes.OK, "The database has closed the connection.").Proto()})
	case s.halved.Load():
		return StreamStatus(codes.Canceled, "The client has closed the connection.", "DB_CLIENT_CLOSED", 0).Err()
	}
	return StreamStatus(codes.Canceled, "The database has closed the connection.", "DB_SERVER_CLOSED", 0).Err()
}

// disconnected is the status of a stream whose instance has been stopped.
func disconnected() error {
	return StreamStatus(codes.Aborted, "The connection to the instance is lost.", "DISCONNECTED", 0).Err()
}

// EndStreams ends all streams of SQL Data to the instance with a status, see
// [StreamStatus], and returns how many there were. [Proxy.CutConnections] also ends
// them, with ABORTED and the reason DISCONNECTED.
func (p *Proxy) EndStreams(with *status.Status) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.stream == nil || !l.open {
			continue
		}
		l.open = false
		l.stream.over <- with.Err()
		n++
	}
	return n
}
