package main

import (
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// standIn is a PostgreSQL that knows the table of books, and no more SQL than
// this program has: the program is to run where no database is installed, and to
// be built soon. The module embedded/ has databases that need no installation.
type standIn struct {
	mu     sync.Mutex
	titles []string
}

// bookFields are the columns of the table. All are text, which is the same in the
// protocol's two formats.
var bookFields = []pgproto3.FieldDescription{
	{Name: []byte("id"), DataTypeOID: pgtype.TextOID, DataTypeSize: -1, TypeModifier: -1},
	{Name: []byte("title"), DataTypeOID: pgtype.TextOID, DataTypeSize: -1, TypeModifier: -1},
}

// serve talks to one client, and lets everybody in.
func (s *standIn) serve(c net.Conn) {
	client := pgproto3.NewBackend(c, c)
	if _, err := client.ReceiveStartupMessage(); err != nil {
		return
	}
	client.Send(&pgproto3.AuthenticationOk{})
	client.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	client.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	statements := map[string]string{} // by the names that the client gives them
	var sql, title string             // the statement that the client is busy with, and its parameter
	for client.Flush() == nil {
		message, err := client.Receive()
		if err != nil {
			return
		}
		switch m := message.(type) {
		case *pgproto3.Query:
			s.run(client, m.String, "")
			client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		case *pgproto3.Parse:
			statements[m.Name] = m.Query
			client.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Bind:
			sql, title = statements[m.PreparedStatement], ""
			if len(m.Parameters) > 0 {
				title = string(m.Parameters[0])
			}
			client.Send(&pgproto3.BindComplete{})
		case *pgproto3.Describe:
			if m.ObjectType == 'S' {
				sql = statements[m.Name]
				client.Send(&pgproto3.ParameterDescription{ParameterOIDs: parameterTypes(strings.Contains(sql, "$1"))})
			}
			if verb(sql) == "SELECT" {
				client.Send(&pgproto3.RowDescription{Fields: bookFields})
			} else {
				client.Send(&pgproto3.NoData{})
			}
		case *pgproto3.Execute:
			s.run(client, sql, title)
		case *pgproto3.Sync:
			client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		case *pgproto3.Terminate:
			return
		}
	}
}

// run answers one statement.
func (s *standIn) run(client *pgproto3.Backend, sql, title string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tag := ""
	switch verb(sql) {
	case "CREATE":
		tag = "CREATE TABLE"
	case "INSERT":
		s.titles = append(s.titles, title)
		tag = "INSERT 0 1"
	case "SELECT":
		for i, title := range s.titles {
			client.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(strconv.Itoa(i + 1)), []byte(title)}})
		}
		tag = "SELECT " + strconv.Itoa(len(s.titles))
	default:
		client.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "0A000", Message: "the stand-in does not understand " + sql})
		return
	}
	client.Send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
}

// verb is the first word of a statement.
func verb(sql string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	return strings.ToUpper(word)
}

// parameterTypes are the types of the parameters of a statement, which has one or none.
func parameterTypes(parameter bool) []uint32 {
	if parameter {
		return []uint32{pgtype.TextOID}
	}
	return nil
}
