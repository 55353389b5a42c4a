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

// pool is of buffers for data to be sent.
var pool = mem.NewTieredBufferPool(256, 4<<10, 16<<10, MaxChunk)

// Data is a DataPacket: bytes of the database's. It is either to be sent, then
// made by [NewRequest] or [NewResponse], or received, then it is read.
type Data struct {
	Offset int64 // of the first byte in its direction; 0 if the sender does not count

	rest mem.Reader // received, and not read yet
	made *[]byte    // to be sent
}

// NewRequest returns a request that carries a copy of b, at most [MaxChunk] of
// it, and how much that is. It must be sent once.
func NewRequest(b []byte) (*Request, int) {
	d := newData(b[:min(len(b), MaxChunk)])
	return &Request{Data: d}, len(*d.made)
}

// NewResponse returns a response that carries a copy of b.
func NewResponse(b []byte) *Response { return &Response{Data: newData(b)} }

func newData(b []byte) *Data {
	buf := pool.Get(len(b))
	copy(*buf, b)
	return &Data{made: buf}
}

// Room is how many bytes can be appended to data to be sent.
func (d *Data) Room() int { return max(0, MaxChunk-len(*d.made)) }

// Append appends a copy of b, at most Room of it, and returns how much that is.
func (d *Data) Append(b []byte) int {
	b = b[:min(len(b), d.Room())]
	if n := len(*d.made) + len(b); n > cap(*d.made) {
		buf := pool.Get(n)
		*buf = append((*buf)[:0], *d.made...)
		pool.Put(d.made)
		d.made = buf
	}
	*d.made = append(*d.made, b...)
	return len(b)
}

// appendTo appends the packet, the field of a message, to the message.
func (d *Data) appendTo(m mem.BufferSlice, field protowire.Number) mem.BufferSlice {
	n := len(*d.made)
	head := protowire.AppendTag(nil, field, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(protowire.SizeTag(packetBytes)+protowire.SizeBytes(n)))
	head = protowire.AppendTag(head, packetBytes, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(n))
	return append(m, mem.SliceBuffer(head), mem.NewBuffer(d.made, pool))
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
