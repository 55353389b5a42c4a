package mysqlserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// maxPacket bounds what a client may send at a time.
const maxPacket = 1 << 20

// session is one connection.
type session struct {
	server *Server
	conn   net.Conn

	mu       sync.Mutex // held while a command is executed; guards everything below
	sequence byte       // of the next packet
	expired  bool
}

var errMalformed = errors.New("malformed packet")

// read reads one packet. The caller does not hold mu.
func (ss *session) read() ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(ss.conn, header[:]); err != nil {
		return nil, err
	}
	size := int(header[0]) | int(header[1])<<8 | int(header[2])<<16
	if size > maxPacket {
		return nil, fmt.Errorf("%w: %d bytes", errMalformed, size)
	}
	b := make([]byte, size)
	_, err := io.ReadFull(ss.conn, b)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.sequence = header[3] + 1
	return b, err
}

// write writes packets, in one Write.
func (ss *session) write(packets ...[]byte) error {
	var b []byte
	for _, p := range packets {
		b = append(b, byte(len(p)), byte(len(p)>>8), byte(len(p)>>16), ss.sequence)
		b = append(b, p...)
		ss.sequence++
	}
	_, err := ss.conn.Write(b)
	return err
}

// Packets that a server sends.
var (
	okPacket  = []byte{0x00, 0, 0, 2, 0, 0, 0} // no rows, no insert id, autocommit, no warnings
	eofPacket = []byte{0xfe, 0, 0, 2, 0}
)

// fail sends an error.
func (ss *session) fail(code uint16, state, message string) error {
	b := binary.LittleEndian.AppendUint16([]byte{0xff}, code)
	return ss.write(append(b, "#"+state+message...))
}

// appendText appends s, of less than 64 KiB, with its length in front.
func appendText(b []byte, s string) []byte {
	if len(s) < 251 {
		b = append(b, byte(len(s)))
	} else {
		b = binary.LittleEndian.AppendUint16(append(b, 0xfc), uint16(len(s)))
	}
	return append(b, s...)
}

// scanner takes a packet apart. After an error it yields zeros.
type scanner struct {
	rest []byte
	err  error
}

func (s *scanner) take(n uint64) []byte {
	if n > uint64(len(s.rest)) {
		s.rest, s.err = nil, errMalformed
		return nil
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) uint32() uint32 {
	if b := s.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (s *scanner) byte() byte {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

// text takes a string that ends with a zero byte.
func (s *scanner) text() string {
	for i, c := range s.rest {
		if c == 0 {
			b := s.take(uint64(i) + 1)
			return string(b[:i])
		}
	}
	s.rest, s.err = nil, errMalformed
	return ""
}

// counted takes a string with its length in front, as a length-encoded integer.
func (s *scanner) counted() []byte {
	n := uint64(s.byte())
	switch n {
	case 0xfb, 0xff:
		s.rest, s.err = nil, errMalformed
	case 0xfc, 0xfd, 0xfe:
		var b [8]byte
		copy(b[:], s.take(map[uint64]uint64{0xfc: 2, 0xfd: 3, 0xfe: 8}[n]))
		n = binary.LittleEndian.Uint64(b[:])
	}
	return s.take(n)
}
