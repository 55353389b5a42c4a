package bench

import (
	"context"
	"errors"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// bareStreams opens streams of gRPC, with its defaults: what a connection costs
// at least. All are on one HTTP/2 connection.
type bareStreams struct{ *grpc.ClientConn }

func newBareStreams(addr string) (*bareStreams, error) {
	cc, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bareCodec{})))
	return &bareStreams{cc}, err
}

func (*bareStreams) Name() string { return bareName }

func (b *bareStreams) Close() { _ = b.ClientConn.Close() }

func (b *bareStreams) Dial(context.Context) (net.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := b.NewStream(ctx, &wire.Desc, wire.Path)
	if err == nil {
		start, _ := wire.Codec.Marshal(&wire.Request{Start: &wire.Session{Location: "locations/r", Instance: "projects/p/instances/i"}})
		err = errors.Join(stream.SendMsg(start.Materialize()), stream.RecvMsg(&bareMessage{}))
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return &bareStream{stream: stream, cancel: cancel}, nil
}

// bareStream is a stream whose bytes are copied once each way, from and to the
// caller's buffer. Nothing interrupts its Read and Write. A buffer of Read has to
// have room for a message.
type bareStream struct {
	net.Conn // nil: what nobody calls
	stream   grpc.ClientStream
	cancel   context.CancelFunc
}

func (s *bareStream) Read(b []byte) (int, error) {
	m := bareMessage{buf: b}
	err := s.stream.RecvMsg(&m)
	return m.n, err
}

func (s *bareStream) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		piece := b[:min(len(b), bareChunk)]
		err = s.stream.SendMsg(&bareMessage{buf: piece})
		n, b = n+len(piece), b[len(piece):]
	}
	return n, err
}

func (s *bareStream) Close() error {
	s.cancel()
	return nil
}

// bareMessage is data that is to be sent, or where what is received is to go.
type bareMessage struct {
	buf []byte
	n   int // received
}

const (
	bareChunk = 32 << 10 // bytes of data in a message
	bareHead  = 16       // and at most so many in front of them
)

// barePool has buffers for whole messages: the next larger ones of gRPC's own are
// of 1 MiB, and it clears them each time.
var barePool = mem.NewTieredBufferPool(256, bareChunk+bareHead)

// bareCodec knows no message but those with data: a request has it in the field
// 7, a packet in the field 2.
type bareCodec struct{}

func (bareCodec) Name() string { return "" }

func (bareCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*bareMessage)
	if !ok {
		return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
	}
	buf := barePool.Get(len(m.buf) + bareHead)
	b := protowire.AppendTag((*buf)[:0], 7, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(2)+protowire.SizeBytes(len(m.buf))))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	*buf = protowire.AppendBytes(b, m.buf)
	return mem.BufferSlice{mem.NewBuffer(buf, barePool)}, nil
}

func (bareCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, r := v.(*bareMessage), data.Reader()
	defer r.Close()
	for range 2 { // tag and length of the packet, and of its data
		_, err := r.ReadByte()
		for c := byte(0x80); c >= 0x80 && err == nil; {
			c, err = r.ReadByte()
		}
	}
	if r.Remaining() > len(m.buf) {
		return io.ErrShortBuffer
	}
	var err error
	m.n, err = io.ReadFull(r, m.buf[:r.Remaining()])
	return err
}
