package tds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

var errShort = errors.New("the message ends too early")

// reader takes values from a message. After its first error it returns zeroes.
type reader struct {
	data []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.data = nil
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.data) {
		if r.err == nil {
			r.err = errShort
		}
		r.data = nil
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) uint(size int) (v uint64) {
	for i, b := range r.bytes(size) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

func (r *reader) byte() byte     { return byte(r.uint(1)) }
func (r *reader) uint16() uint16 { return uint16(r.uint(2)) }
func (r *reader) uint32() uint32 { return uint32(r.uint(4)) }

// text8 reads a B_VARCHAR.
func (r *reader) text8() string { return text(r.bytes(2 * int(r.byte()))) }

// text decodes UTF-16.
func text(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// ucs2 encodes as UTF-16.
func ucs2(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// appendText8 appends a B_VARCHAR, cut at 255 characters; appendText16 a
// US_VARCHAR, cut at most characters.
func appendText8(b []byte, s string) []byte {
	u := ucs2(s)
	u = u[:min(len(u), 2*255)]
	return append(append(b, byte(len(u)/2)), u...)
}

func appendText16(b []byte, s string, most int) []byte {
	u := ucs2(s)
	u = u[:min(len(u), 2*most)]
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(u)/2)), u...)
}
