package tds

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Types of messages, [MS-TDS] 2.2.3.1.1.
const (
	typeBatch     = 0x01
	typeRPC       = 0x03
	typeReply     = 0x04
	typeAttention = 0x06
	typeBulk      = 0x07
	typeTransact  = 0x0e
	typeLogin7    = 0x10
	typeSSPI      = 0x11
	typePrelogin  = 0x12
)

// Bits of a packet's status, [MS-TDS] 2.2.3.1.2.
const (
	statusEnd   = 0x01
	statusReset = 0x08 | 0x10 // RESETCONNECTION, RESETCONNECTIONSKIPTRAN
)

const (
	headerSize        = 8
	defaultPacketSize = 4096
	minPacketSize     = 512
	maxPacketSize     = 32767

	maxLoginSize   = 128<<10 - 1 // [MS-TDS] 2.2.6.4
	maxMessageSize = 16 << 20    // ours: a test sends no more
)

// message is what a client says in one go: all packets up to the one that has
// statusEnd, without their headers.
type message struct {
	kind  byte
	reset bool
	data  []byte
}

// readMessage reads a message of at most limit bytes.
func readMessage(r io.Reader, limit int) (*message, error) { return readSplit(r, r, limit) }

// readSplit reads a message of which the first packet comes from r, and the
// others from rest.
func readSplit(r, rest io.Reader, limit int) (*message, error) {
	m := &message{}
	for first := true; ; first, r = false, rest {
		var h [headerSize]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			if !first && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		size := int(binary.BigEndian.Uint16(h[2:])) - headerSize
		switch {
		case first:
			m.kind, m.reset = h[0], h[1]&statusReset != 0
		case h[0] != m.kind:
			return nil, fmt.Errorf("a packet of type %#02x within a message of type %#02x", h[0], m.kind)
		}
		if size < 0 || size > maxPacketSize-headerSize {
			return nil, fmt.Errorf("a packet of %d bytes", size+headerSize)
		}
		if len(m.data)+size > limit {
			return nil, fmt.Errorf("a message of more than %d bytes", limit)
		}
		start := len(m.data)
		m.data = append(m.data, make([]byte, size)...)
		if _, err := io.ReadFull(r, m.data[start:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if h[1]&statusEnd != 0 {
			return m, nil
		}
	}
}

// writeMessage sends data as one message, in packets of at most packetSize
// bytes.
func writeMessage(w io.Writer, kind byte, data []byte, packetSize int) error {
	var out []byte
	for id := byte(1); ; id++ {
		n := min(len(data), packetSize-headerSize)
		status := byte(0)
		if n == len(data) {
			status = statusEnd
		}
		out = append(out, kind, status)
		out = binary.BigEndian.AppendUint16(out, uint16(headerSize+n))
		out = append(out, 0, 0, id, 0)
		out = append(out, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			_, err := w.Write(out)
			return err
		}
	}
}
