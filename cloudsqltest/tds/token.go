package tds

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// Tokens of a reply, [MS-TDS] 2.2.7.
const (
	tokenColMetadata = 0x81
	tokenError       = 0xaa
	tokenLoginAck    = 0xad
	tokenRow         = 0xd1
	tokenEnvChange   = 0xe3
	tokenSSPI        = 0xed
	tokenDone        = 0xfd
)

// Bits of a DONE token's status.
const (
	doneError     = 0x0002
	doneInXact    = 0x0004
	doneCount     = 0x0010
	doneAttention = 0x0020
)

// Kinds of ENVCHANGE.
const (
	envDatabase   = 1
	envPacketSize = 4
	envBegin      = 8
	envCommit     = 9
	envRollback   = 10
	envReset      = 18
)

const serverName = "tds"

// appendSized appends a token whose length comes first.
func appendSized(b []byte, token byte, body []byte) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, token), uint16(len(body)))
	return append(b, body...)
}

func appendEnvText(b []byte, kind byte, value, old string) []byte {
	return appendSized(b, tokenEnvChange, appendText8(appendText8([]byte{kind}, value), old))
}

func appendEnvBytes(b []byte, kind byte, value, old []byte) []byte {
	body := append([]byte{kind, byte(len(value))}, value...)
	return appendSized(b, tokenEnvChange, append(append(body, byte(len(old))), old...))
}

func appendPacketSize(b []byte, size int) []byte {
	return appendEnvText(b, envPacketSize, strconv.Itoa(size), strconv.Itoa(defaultPacketSize))
}

// appendLoginAck says that this is TDS 7.4 and SQL Server 16.
func appendLoginAck(b []byte) []byte {
	body := []byte{1, 0x74, 0, 0, 4}
	body = appendText8(body, "Microsoft SQL Server")
	return appendSized(b, tokenLoginAck, append(body, 16, 0, 0x03, 0xe8))
}

func appendError(b []byte, err error) []byte {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Number: 50000, State: 1, Message: err.Error()}
	}
	class := e.Class
	if class == 0 {
		class = 16
	}
	body := binary.LittleEndian.AppendUint32(nil, uint32(e.Number))
	body = append(body, e.State, class)
	body = appendText16(body, e.Message, 4000)
	body = appendText8(body, serverName)
	body = append(body, 0)                           // no procedure
	body = binary.LittleEndian.AppendUint32(body, 1) // line
	return appendSized(b, tokenError, body)
}

func appendDone(b []byte, status uint16, rows int64) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, tokenDone), status)
	b = append(b, 0, 0) // which statement it was
	return binary.LittleEndian.AppendUint64(b, uint64(rows))
}
