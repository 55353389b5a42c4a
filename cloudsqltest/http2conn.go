package cloudsqltest

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// http2Conn is a connection to the SQL Data service as gRPC sees it: decrypted.
// It looks at the frames that pass.
type http2Conn struct {
	net.Conn
	service *SQLData
	hole    *blackHole
	closed  chan struct{}
	closing sync.Once
	ended   atomic.Bool    // Read has failed: the client is gone, or cut off
	gone    atomic.Bool    // cut has been called
	wg      sync.WaitGroup // counts goroutines of streams
	in      frames         // Reads are one at a time

	turn  chan struct{} // taken by who writes; guards everything below
	out   frames
	leave bool        // a GOAWAY is to be written
	grace *time.Timer // after it
}

func newHTTP2Conn(d *SQLData, raw net.Conn) *http2Conn {
	c := &http2Conn{service: d, hole: &blackHole{Conn: raw}, closed: make(chan struct{}), turn: make(chan struct{}, 1)}
	c.in.skip(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) // which is what a client begins with
	c.Conn = c.hole
	if d.tls != nil {
		c.Conn = tls.Server(c.hole, d.tls)
	}
	return c
}

// serve serves until the connection has ended, with a gRPC server of its own.
func (c *http2Conn) serve() {
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
	c.hole.outlive()
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.grace != nil {
		c.grace.Stop()
	}
}

// single is a listener that accepts one connection, and ends with it.
type single struct {
	conn     *http2Conn
	accepted bool
}

func (l *single) Accept() (net.Conn, error) {
	if !l.accepted {
		l.accepted = true
		return l.conn, nil
	}
	<-l.conn.closed
	return nil, net.ErrClosed
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }

// Read counts pings.
func (c *http2Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.scan(b[:n], func(f []byte) {
		if f[3] == framePing && f[4]&1 == 0 {
			c.service.count(&c.service.counts.Pings)
		}
	})
	if err != nil {
		c.ended.Store(true)
	}
	return n, err
}

// Write counts what ends the connection for too many pings.
func (c *http2Conn) Write(b []byte) (int, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.out.scan(b, func(f []byte) {
		if f[3] == frameGoAway && binary.BigEndian.Uint32(f[13:]) == enhanceYourCalm {
			c.service.count(&c.service.counts.TooManyPings)
		}
	})
	n, err := c.Conn.Write(b)
	if err == nil {
		c.writeGoAway()
	}
	return n, err
}

// Close is called by gRPC, more than once.
func (c *http2Conn) Close() (err error) {
	c.closing.Do(func() {
		err = c.Conn.Close()
		close(c.closed)
	})
	return err
}

// cut ends the TCP connection.
func (c *http2Conn) cut(withReset bool) {
	c.gone.Store(true)
	c.service.count(&c.service.counts.Cut)
	if withReset {
		sockets.Reset(c.hole.Conn)
		return
	}
	sockets.CloseOrderly(c.hole.Conn)
}

func (c *http2Conn) swallow() {
	c.service.count(&c.service.counts.BlackHoled)
	c.hole.open.Store(true)
}

// goAway writes a GOAWAY, now or after the frame that is being written.
func (c *http2Conn) goAway(grace time.Duration) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.isClosed() {
		return
	}
	c.service.count(&c.service.counts.GoneAway)
	c.leave = true
	c.writeGoAway()
	if c.grace != nil {
		c.grace.Stop()
	}
	c.grace = time.AfterFunc(grace, func() {
		if !c.isClosed() {
			c.cut(false)
		}
	})
}

func (c *http2Conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// writeGoAway writes the GOAWAY that is due, unless that would be amid a frame.
// It says that all streams may go on.
func (c *http2Conn) writeGoAway() {
	if !c.leave || !c.out.between() {
		return
	}
	c.leave = false
	const why = "session_timed_out"
	f := []byte{0, 0, byte(8 + len(why)), frameGoAway, 0, 0, 0, 0, 0}
	f = binary.BigEndian.AppendUint32(f, math.MaxInt32) // the last stream
	f = binary.BigEndian.AppendUint32(f, 0)             // NO_ERROR
	_, _ = c.Conn.Write(append(f, why...))
}

// What is looked for in frames.
const (
	framePing       = 6
	frameGoAway     = 7
	enhanceYourCalm = 11
)

// frames finds the HTTP/2 frames in what passes.
type frames struct {
	head []byte // of a frame: its header, and up to 8 bytes more
	rest int    // of the frame, after what has passed
}

const frameHeader = 9

// skip takes the next n bytes for a frame that is none.
func (f *frames) skip(n int) { f.head, f.rest = make([]byte, frameHeader), n }

// between reports whether no frame has passed in part.
func (f *frames) between() bool { return len(f.head) == 0 && f.rest == 0 }

// scan calls found with the head of each frame that is complete with b.
func (f *frames) scan(b []byte, found func(head []byte)) {
	for len(b) > 0 {
		if f.rest == 0 {
			n := min(len(b), frameHeader-len(f.head))
			f.head, b = append(f.head, b[:n]...), b[n:]
			if len(f.head) < frameHeader {
				return
			}
			f.rest = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
		} else {
			n := min(len(b), f.rest)
			f.head = append(f.head, b[:min(n, frameHeader+8-len(f.head))]...)
			f.rest, b = f.rest-n, b[n:]
		}
		if f.rest == 0 {
			found(f.head)
			f.head = f.head[:0]
		}
	}
}

// blackHole is a TCP connection on which nothing arrives any more, once it is
// open.
type blackHole struct {
	net.Conn
	open atomic.Bool
}

// Read drops what comes.
func (h *blackHole) Read(b []byte) (int, error) {
	for {
		n, err := h.Conn.Read(b)
		if err != nil || !h.open.Load() {
			return n, err
		}
	}
}

// Close leaves the connection there, without an end that the client could see.
func (h *blackHole) Close() error {
	if h.open.Load() {
		return h.SetReadDeadline(time.Unix(1, 0)) // ends Read
	}
	return h.Conn.Close()
}

// outlive returns when the client has given up, or the connection is cut.
func (h *blackHole) outlive() {
	if h.open.Load() {
		_ = h.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, h.Conn)
	}
}

// Write drops what goes.
func (h *blackHole) Write(b []byte) (int, error) {
	if h.open.Load() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}
