package wire

import (
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Codec codes a *[Request] and a *[Response], and sends a [Raw]. Received data
// is not copied: it
// stays in gRPC's buffers until it is read.
var Codec encoding.CodecV2 = codec{}

type codec struct{}

// Name is empty, so that the content type is plain application/grpc.
func (codec) Name() string { return "" }

// Marshal returns the encoding of a message.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *Request:
		return marshalRequest(m)
	case *Response:
		return marshalResponse(m)
	case Raw:
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	}
	return nil, fmt.Errorf("sqldata: cannot send a %T", v)
}

// Unmarshal decodes a message.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *Request:
		return unmarshalRequest(data, m)
	case *Response:
		return unmarshalResponse(data, m)
	}
	return fmt.Errorf("sqldata: cannot receive a %T", v)
}

// The other fields of the messages.
const (
	requestAck       protowire.Number = 4
	requestStart     protowire.Number = 5
	requestContinue  protowire.Number = 6
	requestTerminate protowire.Number = 8

	responseAck       protowire.Number = 2
	responseMetadata  protowire.Number = 3
	responseTerminate protowire.Number = 5

	sessionLocation protowire.Number = 1
	sessionInstance protowire.Number = 2
	sessionID       protowire.Number = 3
	sessionAuth     protowire.Number = 4

	metadataFeatures protowire.Number = 1
	ackOffset        protowire.Number = 1
	terminateStatus  protowire.Number = 1
)

func marshalRequest(m *Request) (mem.BufferSlice, error) {
	var b []byte
	if m.Ack != nil {
		b = appendMessage(b, requestAck, appendAck(nil, *m.Ack))
	}
	switch {
	case m.Start != nil:
		b = appendMessage(b, requestStart, appendSession(nil, m.Start))
	case m.Continue != nil:
		b = appendMessage(b, requestContinue, appendSession(nil, m.Continue))
	case m.Terminate != nil:
		var err error
		if b, err = appendTerminate(b, requestTerminate, m.Terminate); err != nil {
			return nil, err
		}
	}
	return joined(b, m.Data, requestData), nil
}

func marshalResponse(m *Response) (mem.BufferSlice, error) {
	var b []byte
	if m.Ack != nil {
		b = appendMessage(b, responseAck, appendAck(nil, *m.Ack))
	}
	switch {
	case m.Metadata != nil:
		var features []byte
		for _, f := range m.Metadata.Features {
			features = protowire.AppendVarint(features, f)
		}
		var packed []byte
		if len(features) > 0 {
			packed = appendMessage(nil, metadataFeatures, features)
		}
		b = appendMessage(b, responseMetadata, packed)
	case m.Terminate != nil:
		var err error
		if b, err = appendTerminate(b, responseTerminate, m.Terminate); err != nil {
			return nil, err
		}
	}
	return joined(b, m.Data, responseData), nil
}

// joined is a message of b and data, in the field. gRPC frees it.
func joined(b []byte, data *Data, field protowire.Number) mem.BufferSlice {
	var out mem.BufferSlice
	if len(b) > 0 {
		out = append(out, mem.SliceBuffer(b))
	}
	if data != nil {
		out = data.appendTo(out, field)
	}
	return out
}

func appendMessage(b []byte, n protowire.Number, m []byte) []byte {
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return protowire.AppendBytes(b, m)
}

func appendText(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendVarint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, n, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendAck(b []byte, offset int64) []byte { return appendVarint(b, ackOffset, uint64(offset)) }

func appendSession(b []byte, s *Session) []byte {
	b = appendText(b, sessionLocation, s.Location)
	b = appendText(b, sessionInstance, s.Instance)
	b = appendText(b, sessionID, s.ID)
	return appendVarint(b, sessionAuth, s.AuthenticationType)
}

func appendTerminate(b []byte, n protowire.Number, s *status.Status) ([]byte, error) {
	text, err := proto.Marshal(s)
	if err != nil {
		return nil, err
	}
	return appendMessage(b, n, appendMessage(nil, terminateStatus, text)), nil
}

// errMalformed is no protobuf. It does not show what came.
var errMalformed = errors.New("sqldata: a message is malformed")

func unmarshalRequest(data mem.BufferSlice, m *Request) error {
	*m = Request{}
	p := newParser(data)
	for p.next() {
		switch {
		case p.is(requestAck):
			m.Ack = p.ack()
		case p.is(requestStart):
			*m = Request{Ack: m.Ack, Start: p.session()}
		case p.is(requestContinue):
			*m = Request{Ack: m.Ack, Continue: p.session()}
		case p.is(requestData):
			*m = Request{Ack: m.Ack, Data: p.data()}
		case p.is(requestTerminate):
			*m = Request{Ack: m.Ack, Terminate: p.terminate()}
		default:
			p.unknown = append(p.unknown, p.field)
			p.skip()
		}
	}
	m.Unknown = p.unknown
	return p.end()
}

func unmarshalResponse(data mem.BufferSlice, m *Response) error {
	*m = Response{}
	p := newParser(data)
	for p.next() {
		switch {
		case p.is(responseAck):
			m.Ack = p.ack()
		case p.is(responseMetadata):
			*m = Response{Ack: m.Ack, Metadata: p.metadata()}
		case p.is(responseData):
			*m = Response{Ack: m.Ack, Data: p.data()}
		case p.is(responseTerminate):
			*m = Response{Ack: m.Ack, Terminate: p.terminate()}
		default:
			p.skip()
		}
	}
	return p.end()
}
