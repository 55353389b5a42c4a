package tlsconn

import "encoding/binary"

// headSize is that of a record's head: its type, its version, and the length of
// what follows.
const headSize = 5

// frame is where in a record a stream is.
type frame struct {
	head [headSize]byte
	have uint8  // bytes of the head
	left uint16 // bytes of the record after its head
}

// next returns how many bytes the stream has up to the end of the record, or of
// its head if b, the bytes that come, does not have all of that.
func (f *frame) next(b []byte) int {
	if f.left > 0 {
		return int(f.left)
	}
	missing := headSize - int(f.have)
	if len(b) < missing {
		return missing
	}
	head := f.head
	copy(head[f.have:], b)
	return missing + int(binary.BigEndian.Uint16(head[headSize-2:]))
}

// pass is told that b has come.
func (f *frame) pass(b []byte) {
	for len(b) > 0 {
		if f.left == 0 {
			n := copy(f.head[f.have:], b)
			b = b[n:]
			if f.have += uint8(n); f.have < headSize {
				return
			}
			f.have, f.left = 0, binary.BigEndian.Uint16(f.head[headSize-2:])
		}
		n := min(int(f.left), len(b))
		f.left, b = f.left-uint16(n), b[n:]
	}
}
