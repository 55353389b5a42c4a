// Package mdx is the metadata exchange of Cloud SQL: what a client tells the
// server-side proxy about itself, inside TLS, before its first byte of the
// database protocol, and what the proxy may answer. [Exchange] is the client's
// side of one connection, [Server] the proxy's. It knows nothing of TLS, nor of databases.
//
// Both messages are framed as
//
//	"CSQLMDEX"  8 bytes
//	length      4 bytes, big-endian, of what follows
//	protobuf    MetadataExchangeRequest or MetadataExchangeResponse
//
// A client sends a request only to an instance whose metadata has
// CLIENT_PROTOCOL_TYPE in mdxProtocolSupport. The answer is optional, and comes
// before any other byte of the server, or not at all.
package mdx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	signature  = "CSQLMDEX"
	headerSize = len(signature) + 4

	// maxSize bounds a message, without its header.
	maxSize = 16 << 10
)

// ClientProtocolType is how the application has connected to the client.
type ClientProtocolType int32

// The client protocol types. A connection without a proxy in between is TLS.
const (
	Unspecified ClientProtocolType = 0
	TCP         ClientProtocolType = 1
	TLS         ClientProtocolType = 2
	UDS         ClientProtocolType = 3
)

// String returns TCP, TLS, UDS, or UNSPECIFIED for everything else.
func (t ClientProtocolType) String() string {
	switch t {
	case TCP:
		return "TCP"
	case TLS:
		return "TLS"
	case UDS:
		return "UDS"
	}
	return "UNSPECIFIED"
}

// Request is a MetadataExchangeRequest.
type Request struct {
	UserAgent          string
	ClientProtocolType ClientProtocolType
}

// Append appends the framed request to b.
func (r Request) Append(b []byte) []byte {
	return appendMessage(b, func(b []byte) []byte {
		b = appendText(b, 1, r.UserAgent)
		return appendEnum(b, 2, int32(r.ClientProtocolType))
	})
}

// Status is a ResponseStatusCode.
type Status int32

// The statuses. A client goes on after all but Refused.
const (
	OK      Status = 1
	Refused Status = 2 // ERROR
)

// Response is a MetadataExchangeResponse.
type Response struct {
	Status  Status
	Message string // why it is an ERROR
}

// Append appends the framed response to b.
func (r Response) Append(b []byte) []byte {
	return appendMessage(b, func(b []byte) []byte {
		b = appendEnum(b, 1, int32(r.Status))
		return appendText(b, 2, r.Message)
	})
}

// AppendOversized appends the beginning of a message that is too long.
func AppendOversized(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, signature...), maxSize+1)
}

func appendMessage(b []byte, body func([]byte) []byte) []byte {
	b = append(b, signature...)
	b = append(b, 0, 0, 0, 0)
	start := len(b)
	b = body(b)
	binary.BigEndian.PutUint32(b[start-4:], uint32(len(b)-start))
	return b
}

func appendEnum(b []byte, field protowire.Number, v int32) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

// errMalformed is what is wrong with a message that is no protobuf, or too
// long.
var errMalformed = errors.New("malformed metadata exchange message")

// parse reads the two fields that both messages have: an enum and a text. What
// is unknown is skipped.
func parse(b []byte, enumField, textField protowire.Number) (enum int32, text string, err error) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, "", fmt.Errorf("%w: %w", errMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		switch {
		case field == enumField && kind == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			enum = int32(v)
		case field == textField && kind == protowire.BytesType:
			var v []byte
			v, n = protowire.ConsumeBytes(b)
			text = string(v)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return 0, "", fmt.Errorf("%w: %w", errMalformed, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return enum, text, nil
}

func parseRequest(b []byte) (Request, error) {
	t, agent, err := parse(b, 2, 1)
	return Request{UserAgent: agent, ClientProtocolType: ClientProtocolType(t)}, err
}

func parseResponse(b []byte) (Response, error) {
	s, message, err := parse(b, 1, 2)
	return Response{Status: Status(s), Message: message}, err
}

var (
	errNone = errors.New("no message")
	errMore = errors.New("not all of the message")
)

// cut cuts the message from the beginning of b. It returns errNone if there is
// none, errMore if it is not complete, or may not even be one.
func cut(b []byte) (body, rest []byte, err error) {
	n := min(len(b), len(signature))
	switch {
	case string(b[:n]) != signature[:n]:
		return nil, b, errNone
	case len(b) < headerSize:
		return nil, nil, errMore
	}
	size := binary.BigEndian.Uint32(b[len(signature):])
	b = b[headerSize:]
	switch {
	case size > maxSize:
		return nil, nil, fmt.Errorf("%w: its length is %d, at most %d is allowed", errMalformed, size, maxSize)
	case len(b) < int(size):
		return nil, nil, errMore
	}
	return b[:size], b[size:], nil
}

// Error is a server's refusal of the exchange. The connection cannot be used.
type Error struct {
	// Message is the server's, at most 200 printable characters in one line.
	Message string
}

// Error returns the server's message.
func (e *Error) Error() string {
	if e.Message == "" {
		return "the server refuses the metadata exchange, without a reason"
	}
	return "the server refuses the metadata exchange: " + e.Message
}

const maxText = 200

// clean makes s fit to be shown: one line of printable characters.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s[:min(len(s), 4*maxText)])
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > maxText {
		return string(runes[:maxText]) + "..."
	}
	return s
}
