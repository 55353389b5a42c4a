package mysqlserver

import (
	"errors"
	"fmt"
	"strings"
)

// The commands that the server knows.
const (
	comQuit            = 0x01
	comInitDB          = 0x02
	comQuery           = 0x03
	comPing            = 0x0e
	comResetConnection = 0x1f
)

var errEnd = errors.New("the session has ended")

// command executes one command.
func (s *Server) command(ss *session) error {
	b, err := ss.read()
	if err != nil {
		return err
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if len(b) == 0 || b[0] == comQuit || ss.expired {
		return errEnd
	}
	switch b[0] {
	case comPing:
		s.mu.Lock()
		s.pings++
		s.mu.Unlock()
		return ss.write(okPacket)
	case comInitDB, comResetConnection:
		return ss.write(okPacket)
	case comQuery:
		return s.query(ss, string(b[1:]))
	}
	return ss.fail(1047, "08S01", fmt.Sprintf("Unknown command %#x", b[0]))
}

func (s *Server) query(ss *session, q string) error {
	s.mu.Lock()
	s.queries = append(s.queries, q)
	s.mu.Unlock()
	if answer, ok := s.Answers[q]; ok {
		return ss.row(answer)
	}
	switch verb, _, _ := strings.Cut(strings.ToUpper(q), " "); {
	case strings.EqualFold(q, "SELECT 1"):
		return ss.row("1")
	case strings.EqualFold(q, "SELECT @@max_allowed_packet"):
		return ss.row(fmt.Sprint(maxPacket))
	case verb == "SET" || verb == "START" || verb == "COMMIT" || verb == "ROLLBACK":
		return ss.write(okPacket)
	}
	return ss.fail(1064, "42000", fmt.Sprintf("The scripted server has no answer to %.80q", q))
}

// row answers with one row of one text column.
func (ss *session) row(value string) error {
	var column []byte
	for _, text := range []string{"def", "", "", "", "value", ""} { // catalog, schema, table, its name, column, its name
		column = appendText(column, text)
	}
	column = append(column, 0x0c, 255, 0) // utf8mb4
	column = append(column, 0, 4, 0, 0)   // width
	column = append(column, 0xfd, 0, 0)   // VAR_STRING, no flags
	column = append(column, 0, 0, 0)      // decimals, filler
	return ss.write([]byte{1}, column, eofPacket, appendText(nil, value), eofPacket)
}
