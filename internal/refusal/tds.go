package refusal

import (
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf16"
)

// Packets of SQL Server's protocol, [MS-TDS] 2.2.3.1.1.
const (
	tdsReply    = 4
	tdsLogin    = 16
	tdsPrelogin = 18

	tdsHeader     = 8
	tdsLastPacket = 1       // of a message
	maxLogin      = 1 << 17 // what SQL Server takes for a LOGIN7 message
)

// sqlServer answers the login with an error. Before it, it says that there is no
// TLS to be had: a client that insists ends by itself.
func sqlServer(c io.ReadWriter, message string) error {
	if err := readMessage(c, tdsPrelogin); err != nil {
		return err
	}
	const versionAt, encryptionAt, noEncryption = 11, 17, 2
	prelogin := []byte{
		0, 0, versionAt, 0, 6,
		1, 0, encryptionAt, 0, 1,
		0xff,
		16, 0, 0, 0, 0, 0, // SQL Server 2022
		noEncryption,
	}
	if _, err := c.Write(tdsPacket(prelogin)); err != nil {
		return err
	}
	if err := readMessage(c, tdsLogin); err != nil {
		return err
	}
	_, err := c.Write(tdsPacket(errorTokens(message)))
	return err
}

// readMessage reads a message, of one packet or more, of which only the kind
// matters.
func readMessage(r io.Reader, kind byte) error {
	for left := maxLogin; ; {
		var head [tdsHeader]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(head[2:])) - tdsHeader
		if left -= n; head[0] != kind || n < 0 || left < 0 {
			return errors.New("the client does not speak SQL Server's protocol")
		}
		if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
			return err
		}
		if head[1]&tdsLastPacket != 0 {
			return nil
		}
	}
}

func tdsPacket(data []byte) []byte {
	p := binary.BigEndian.AppendUint16([]byte{tdsReply, tdsLastPacket}, uint16(tdsHeader+len(data)))
	return append(append(p, 0, 0, 1, 0), data...)
}

// errorTokens are an ERROR and a DONE token, [MS-TDS] 2.2.7.10 and 2.2.7.6.
func errorTokens(message string) []byte {
	const (
		number = 50000 // the least of an error that is not SQL Server's own
		state  = 1
		class  = 20 // ends the connection
	)
	units := utf16.Encode([]rune(text(message)))
	body := binary.LittleEndian.AppendUint32(nil, number)
	body = append(body, state, class)
	body = binary.LittleEndian.AppendUint16(body, uint16(len(units)))
	for _, u := range units {
		body = binary.LittleEndian.AppendUint16(body, u)
	}
	body = append(body, 0, 0)       // no names of server and procedure
	body = append(body, 1, 0, 0, 0) // line
	tokens := binary.LittleEndian.AppendUint16([]byte{0xaa}, uint16(len(body)))
	tokens = append(tokens, body...)
	return append(tokens, 0xfd, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // an error, no rows
}
