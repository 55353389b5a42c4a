package tlsconn

import (
	"encoding/binary"
	"testing"
)

// Wherever a stream is cut, the ends of its records are found.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 1, 2, 200}, []byte{1})
	f.Add([]byte{255, 255, 3}, []byte{3, 0, 7, 100})
	f.Fuzz(func(t *testing.T, sizes, cuts []byte) {
		var stream []byte
		ends := map[int]bool{0: true} // of records, and of their heads
		for _, size := range sizes {
			stream = binary.BigEndian.AppendUint16(append(stream, 23, 3, 3), uint16(size)*7)
			ends[len(stream)] = true
			stream = append(stream, make([]byte, int(size)*7)...)
			ends[len(stream)] = true
		}
		var fr frame
		for at := 0; at < len(stream); {
			n := 1
			if len(cuts) > 0 {
				n, cuts = 1+int(cuts[0])*5, cuts[1:]
			}
			n = min(n, len(stream)-at)
			if end := at + fr.next(stream[at:at+n]); !ends[end] {
				t.Fatalf("at %d: %d is no end", at, end)
			}
			fr.pass(stream[at : at+n])
			at += n
		}
		if fr.left != 0 || fr.have != 0 {
			t.Errorf("at the end: %+v", fr)
		}
	})
}
