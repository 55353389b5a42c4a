package pgsqlite

import (
	"cmp"
	"fmt"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// startup reports whether the client logged in. Others leave at once, or came only to cancel a query.
func (s *session) startup(id uint32) bool {
	for {
		msg, err := s.backend.ReceiveStartupMessage()
		if err != nil {
			return false
		}
		switch msg := msg.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := s.conn.Write([]byte("N")); err != nil {
				return false
			}
		case *pgproto3.CancelRequest:
			s.engine.interrupt(msg)
			return false
		case *pgproto3.StartupMessage:
			s.user = msg.Parameters["user"]
			s.database = cmp.Or(msg.Parameters["database"], s.user)
			s.original = newSettings(s.user, msg.Parameters["application_name"])
			s.settings = maps.Clone(s.original)
			if s.login != nil && !s.askPassword() {
				return false
			}
			s.backend.Send(&pgproto3.AuthenticationOk{})
			for _, name := range reported {
				s.backend.Send(&pgproto3.ParameterStatus{Name: name, Value: s.settings[strings.ToLower(name)]})
			}
			s.backend.Send(&pgproto3.BackendKeyData{ProcessID: id, SecretKey: s.secret})
			return true
		}
	}
}

// askPassword reports whether the client gave the right password.
func (s *session) askPassword() bool {
	s.backend.Send(&pgproto3.AuthenticationCleartextPassword{})
	if s.backend.Flush() != nil || s.backend.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
		return false
	}
	msg, err := s.backend.Receive()
	if err != nil {
		return false
	}
	if p, ok := msg.(*pgproto3.PasswordMessage); ok && s.login(s.user, p.Password) {
		return true
	}
	s.backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28P01",
		Message: fmt.Sprintf("password authentication failed for user %q", s.user)})
	s.backend.Flush()
	return false
}
