package cloudsqltest

import (
	"io"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// relay connects the stream with the database, until one of them ends.
func (s *stream) relay(token string) error {
	p, f := s.instance, s.fault
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
	s.instance.mu.Lock()
	cut := !s.link.open
	s.instance.mu.Unlock()
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

// attendStream leads a stream to the database, and ends its connection after
// that.
func (p *EmulatedInstance) attendStream(l *link, s *stream, token string) {
	defer p.forget(l)
	defer l.raw.Close()
	c := &StreamConn{Conn: l.raw, token: token}
	c.login = p.checkLogin(l, token, l.raw, l.raw)
	if !p.lead(l, c, token != "") {
		s.unserved.Store(true)
	}
}

// admitStream starts attendStream, and returns the link, or nil while the
// instance is stopped.
func (p *EmulatedInstance) admitStream(s *stream, raw net.Conn, token string) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run.stopped {
		p.counts.Refused++
		return nil
	}
	l := newLink(raw, "SQL Data")
	l.stream = s
	p.links[l] = true
	p.counts.Streams++
	p.run.wg.Go(func() { p.attendStream(l, s, token) })
	return l
}
