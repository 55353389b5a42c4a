package wire

import (
	"io"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// parser walks the fields of a message. What is asked for after an error is
// empty.
type parser struct {
	in    *Data // its rest is what is left of the message
	taken bool  // in is the data of the message
	field protowire.Number
	typ   protowire.Type
	err   error

	unknown []protowire.Number // of a request and its session
}

func newParser(message mem.BufferSlice) *parser {
	p := &parser{in: new(Data)}
	p.in.rest.Reset(message) // with references of its own
	return p
}

// next goes on to the next field, and reports whether there is one.
func (p *parser) next() bool {
	if p.err != nil || p.taken || p.in.Len() == 0 {
		return false
	}
	p.field, p.typ = protowire.DecodeTag(p.varint())
	if p.field < protowire.MinValidNumber {
		p.err = errMalformed
	}
	return p.err == nil
}

// is reports whether the field is this one. All that are known have a length.
func (p *parser) is(n protowire.Number) bool { return p.field == n && p.typ == protowire.BytesType }

// end returns what has gone wrong.
func (p *parser) end() error {
	if !p.taken || p.err != nil {
		p.in.Free()
	}
	return p.err
}

func (p *parser) varint() (v uint64) {
	var b [10]byte
	for i := range b {
		c, err := p.in.rest.ReadByte()
		if err != nil {
			break
		}
		b[i] = c
		if c < 0x80 {
			v, n := protowire.ConsumeVarint(b[:i+1])
			if n < 0 {
				break
			}
			return v
		}
	}
	p.err = errMalformed
	return 0
}

// length reads the length of a field that has one.
func (p *parser) length() int {
	n := p.varint()
	if p.err != nil || n > uint64(p.in.Len()) {
		p.err = errMalformed
		return 0
	}
	return int(n)
}

// bytes copies a field that has a length.
func (p *parser) bytes() []byte { return p.take(p.length()) }

func (p *parser) take(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(p.in, b); err != nil && n > 0 {
		p.err = errMalformed
	}
	return b
}

// skip passes over a field that is not known.
func (p *parser) skip() {
	n := 0
	switch p.typ {
	case protowire.VarintType:
		p.varint()
	case protowire.Fixed32Type:
		n = 4
	case protowire.Fixed64Type:
		n = 8
	case protowire.BytesType:
		n = p.length()
	default: // groups are not in proto3
		p.err = errMalformed
	}
	if _, err := p.in.rest.Discard(n); err != nil {
		p.err = errMalformed
	}
}

// data reads a DataPacket. Its bytes stay where they are if nothing comes after
// them, which is how everybody sends them.
func (p *parser) data() *Data {
	after := p.length() // of the packet in the message
	after = p.in.Len() - after
	d := new(Data)
	for p.err == nil && p.in.Len() > after {
		p.field, p.typ = protowire.DecodeTag(p.varint())
		switch {
		case p.field == packetOffset && p.typ == protowire.VarintType:
			d.Offset = int64(p.varint())
		case p.is(packetBytes):
			n := p.length()
			if n > p.in.Len()-after {
				p.err = errMalformed
			}
			if p.err == nil && n == p.in.Len() {
				p.taken = true
				p.in.Offset = d.Offset
				return p.in
			}
			d.rest.Reset(mem.BufferSlice{mem.SliceBuffer(p.take(n))})
		case p.field < protowire.MinValidNumber:
			p.err = errMalformed
		default:
			p.skip()
		}
	}
	if p.in.Len() != max(after, 0) {
		p.err = errMalformed // a field is longer than the packet
	}
	return d
}

// fields calls f with each field of a small message.
func (p *parser) fields(b []byte, f func(n protowire.Number, t protowire.Type, v []byte)) {
	for len(b) > 0 && p.err == nil {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			p.err = errMalformed
			return
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(field, typ, b); n < 0 {
			p.err = errMalformed
			return
		}
		f(field, typ, b[:n])
		b = b[n:]
	}
}

func (p *parser) ack() *int64 {
	offset := new(int64)
	p.fields(p.bytes(), func(n protowire.Number, t protowire.Type, v []byte) {
		if n == ackOffset && t == protowire.VarintType {
			*offset = int64(number(v))
		}
	})
	return offset
}

func (p *parser) session() *Session {
	s := new(Session)
	p.fields(p.bytes(), func(n protowire.Number, t protowire.Type, v []byte) {
		switch {
		case n == sessionLocation && t == protowire.BytesType:
			s.Location = text(v)
		case n == sessionInstance && t == protowire.BytesType:
			s.Instance = text(v)
		case n == sessionID && t == protowire.BytesType:
			s.ID = text(v)
		case n == sessionAuth && t == protowire.VarintType:
			s.AuthenticationType = number(v)
		default:
			p.unknown = append(p.unknown, n)
		}
	})
	return s
}

func (p *parser) metadata() *Metadata {
	m := new(Metadata)
	p.fields(p.bytes(), func(n protowire.Number, t protowire.Type, v []byte) {
		switch {
		case n != metadataFeatures:
		case t == protowire.VarintType:
			m.Features = append(m.Features, number(v))
		case t == protowire.BytesType:
			for v, _ = protowire.ConsumeBytes(v); len(v) > 0; {
				f, n := protowire.ConsumeVarint(v)
				if n < 0 {
					p.err = errMalformed
					return
				}
				m.Features = append(m.Features, f)
				v = v[n:]
			}
		}
	})
	return m
}

func (p *parser) terminate() *status.Status {
	s := new(status.Status)
	p.fields(p.bytes(), func(n protowire.Number, t protowire.Type, v []byte) {
		if n == terminateStatus && t == protowire.BytesType {
			v, _ = protowire.ConsumeBytes(v)
			if proto.Unmarshal(v, s) != nil {
				p.err = errMalformed
			}
		}
	})
	return s
}

// number and text are the values of fields that are known to be well formed.

func number(v []byte) uint64 {
	n, _ := protowire.ConsumeVarint(v)
	return n
}

func text(v []byte) string {
	b, _ := protowire.ConsumeBytes(v)
	return string(b)
}
