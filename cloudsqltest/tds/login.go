package tds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Login is what a client says in its LOGIN7 message.
type Login struct {
	User       string // empty with SSPI
	Password   string
	Database   string
	AppName    string
	HostName   string // of the client
	ServerName string // the server that the client means to talk to
	Library    string
	Language   string
	PacketSize int
	TDSVersion uint32
	ReadOnly   bool   // ApplicationIntent=ReadOnly
	SSPI       []byte // the first token; nil without SSPI
}

// Flags of a LOGIN7 message, [MS-TDS] 2.2.6.4.
const (
	flagIntegrated = 0x80 // OptionFlags2
	flagReadOnly   = 0x20 // TypeFlags
)

const loginHeaderSize = 94

// readLogin reads a LOGIN7 message, of which the first packet comes from r.
func readLogin(r, rest io.Reader) (*Login, error) {
	m, err := readSplit(r, rest, maxLoginSize)
	if err != nil {
		return nil, err
	}
	if m.kind != typeLogin7 {
		return nil, fmt.Errorf("a message of type %#02x instead of LOGIN7", m.kind)
	}
	return parseLogin(m.data)
}

func parseLogin(data []byte) (*Login, error) {
	if len(data) < loginHeaderSize {
		return nil, errors.New("LOGIN7 is too short")
	}
	if n := binary.LittleEndian.Uint32(data); int64(n) != int64(len(data)) {
		return nil, fmt.Errorf("LOGIN7 of %d bytes says that it has %d", len(data), n)
	}
	var failed error
	field := func(at, unit int) []byte {
		offset := int(binary.LittleEndian.Uint16(data[at:]))
		size := unit * int(binary.LittleEndian.Uint16(data[at+2:]))
		if offset+size > len(data) {
			failed = fmt.Errorf("the field of LOGIN7 at %d lies outside the message", at)
			return nil
		}
		return data[offset : offset+size]
	}
	l := &Login{
		HostName:   text(field(36, 2)),
		User:       text(field(40, 2)),
		Password:   text(unscramble(field(44, 2))),
		AppName:    text(field(48, 2)),
		ServerName: text(field(52, 2)),
		Library:    text(field(60, 2)),
		Language:   text(field(64, 2)),
		Database:   text(field(68, 2)),
		TDSVersion: binary.LittleEndian.Uint32(data[4:]),
		PacketSize: int(min(binary.LittleEndian.Uint32(data[8:]), maxPacketSize)),
		ReadOnly:   data[26]&flagReadOnly != 0,
	}
	if data[25]&flagIntegrated != 0 {
		l.SSPI = append([]byte{}, field(78, 1)...)
	}
	if l.PacketSize < minPacketSize {
		l.PacketSize = defaultPacketSize
	}
	return l, failed
}

// unscramble undoes what [MS-TDS] 2.2.6.4 has clients do with passwords.
func unscramble(b []byte) []byte {
	plain := make([]byte, len(b))
	for i, c := range b {
		c ^= 0xa5
		plain[i] = c<<4 | c>>4
	}
	return plain
}
