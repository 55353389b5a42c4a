package tlsconn

import (
	"testing"
	"unsafe"
)

// One byte more, and the allocator takes the next larger size, of 208 bytes: there are
// idle connections by the ten thousand.
func TestAConnectionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 192 {
		t.Errorf("a Conn has %d bytes, want at most 192", size)
	}
}
