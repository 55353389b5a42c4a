// Package mysqlpacket reads packets of MySQL's protocol. It knows nothing of
// connections.
package mysqlpacket

import (
	"encoding/binary"

	"github.com/go-sql-driver/mysql"
)

// Last returns the error that the last of these packets is, or nil.
func Last(packets []byte) *mysql.MySQLError {
	var last []byte
	for rest := packets; len(rest) >= 4; {
		size := 4 + int(uint32(rest[0])|uint32(rest[1])<<8|uint32(rest[2])<<16)
		if size > len(rest) {
			return nil
		}
		last, rest = rest[4:size], rest[size:]
	}
	if len(last) < 3 || last[0] != 0xff {
		return nil
	}
	e := &mysql.MySQLError{Number: binary.LittleEndian.Uint16(last[1:])}
	text := last[3:]
	if len(text) >= 6 && text[0] == '#' {
		copy(e.SQLState[:], text[1:6])
		text = text[6:]
	}
	e.Message = string(text)
	return e
}
