package wire

import (
	"io"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// The field of the data in a request and in a response, and those of a DataPacket.
const (
	requestData  protowire.Number = 7
	responseData protowire.Number = 4

	packetOffset protowire.Number = 1
	packetBytes  protowire.Number = 2
)

// dataOverhead is more than a message with data has beside it: two tags and two
// lengths, as no offset is sent.
const dataOverhead = 16

// pool is of buffers for messages to be sent. gRPC's own has sizes that would be
// exceeded by the overhead.
var pool = mem.NewTieredBufferPool(256, 4<<10, 16<<10, MaxChunk+dataOverhead)

// Data is a DataPacket: bytes of the database's. It is either to be sent, then
// made by [NewRequest] or [NewResponse], or received, then it is read.
type Data struct {
	Offset int64 // of the first byte in its direction; 0 if the sender does not count

	rest mem.Reader // received, and not read yet
	made mem.Buffer // to be sent: the whole message
}

// NewRequest returns a request that carries a copy of b, at most [MaxChunk] of
// it, and how much that is. It must be sent once.
func NewRequest(b []byte) (*Request, int) {
	d, n := newData(requestData, b, MaxChunk)
	return &Request{Data: d}, n
}

// NewResponse returns a response that carries a copy of b.
func NewResponse(b []byte) *Response {
	d, _ := newData(responseData, b, len(b))
	return &Response{Data: d}
}

func newData(field protowire.Number, b []byte, most int) (*Data, int) {
	b = b[:min(len(b), most)]
	buf := pool.Get(len(b) + dataOverhead)
	out := (*buf)[:0]
	out = protowire.AppendTag(out, field, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(protowire.SizeTag(packetBytes)+protowire.SizeBytes(len(b))))
	out = protowire.AppendTag(out, packetBytes, protowire.BytesType)
	out = protowire.AppendBytes(out, b)
	*buf = out
	return &Data{made: mem.NewBuffer(buf, pool)}, len(b)
}

// Len is how many bytes of received data have not been read.
func (d *Data) Len() int { return d.rest.Remaining() }

// Read reads received data; io.EOF is their end, not that of the stream.
func (d *Data) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if d.Len() == 0 {
		return 0, io.EOF
	}
	return d.rest.Read(b)
}

// Free gives back the memory of received data that nobody will read.
func (d *Data) Free() { _ = d.rest.Close() }
