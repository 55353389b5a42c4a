package pgsqlite

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/ncruces/go-sqlite3"
)

const serverVersion = "15.0 (SQLite)"

// unsupported ends the message of an error with the code 0A000.
const unsupported = " is not supported: " + thisIsSQLite

// thisIsSQLite is said wherever the statement may be right for PostgreSQL.
const thisIsSQLite = "this is SQLite behind PostgreSQL's protocol"

// The states of a transaction, as ReadyForQuery names them.
const (
	idle   = 'I'
	active = 'T'
	failed = 'E'
)

// A session is one client's connection.
type session struct {
	engine  *Engine
	conn    net.Conn
	backend *pgproto3.Backend
	login   func(user, password string) bool // nil: everybody may log in
	secret  []byte
	cancel  context.CancelFunc // guarded by Engine.mu

	user       string
	database   string
	settings   map[string]string // by their names in lower case
	original   map[string]string // what RESET goes back to
	db         *sqlite3.Conn
	types      *pgtype.Map
	statements map[string]*statement
	portals    map[string]*portal
	status     byte
	now        time.Time // the start of the transaction
}

// A statement is one statement of SQL, prepared.
type statement struct {
	verb   string // "" if empty
	sql    string // for SQLite
	set    []setting
	params []uint32
	fields []pgproto3.FieldDescription
}

// A portal is a statement with its arguments.
type portal struct {
	*statement
	args    []any
	formats []int16
}

func (s *session) serve() {
	var err error
	if s.db, err = sqlite3.Open(s.engine.dsn); err != nil {
		s.fail(err)
		s.backend.Flush()
		return
	}
	defer s.db.Close() // rolls back
	s.createFunctions()

	skipping := false // until Sync, after an error in the extended protocol
	s.ready()
	for {
		msg, err := s.backend.Receive()
		if err != nil {
			return
		}
		switch msg.(type) {
		case *pgproto3.Terminate:
			return
		case *pgproto3.Sync:
			skipping = false
			if s.status == idle {
				clear(s.portals)
			}
			s.ready()
			continue
		case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
			continue // sent before the client saw that COPY was refused
		}
		if skipping {
			continue
		}
		if s.status == idle {
			s.now = time.Now()
		}
		ctx, cancel := s.engine.interruptible(s)
		s.db.SetInterrupt(ctx)
		err = s.handle(msg)
		cancel()
		if err != nil {
			s.fail(err)
		}
		switch msg.(type) {
		case *pgproto3.Query, *pgproto3.FunctionCall:
			s.ready()
		default:
			skipping = err != nil
		}
	}
}

// ready ends a reply. If it cannot be written, the next Receive fails.
func (s *session) ready() {
	s.backend.Send(&pgproto3.ReadyForQuery{TxStatus: s.status})
	s.backend.Flush()
}

func (s *session) fail(err error) {
	if s.status == active {
		s.status = failed
	}
	code, message := sqlstate(err)
	s.backend.Send(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: message})
}

func (s *session) handle(msg pgproto3.FrontendMessage) error {
	switch msg := msg.(type) {
	case *pgproto3.Query:
		return s.query(msg.String)
	case *pgproto3.Parse:
		if msg.Name != "" && s.statements[msg.Name] != nil {
			return &sqlError{"42P05", fmt.Sprintf("prepared statement %q already exists", msg.Name)}
		}
		texts := split(msg.Query)
		if len(texts) > 1 {
			return &sqlError{"42601", "cannot insert multiple commands into a prepared statement"}
		}
		st, err := s.prepare(slices.Concat(texts...), msg.ParameterOIDs)
		if err != nil {
			return err
		}
		s.statements[msg.Name] = st
		s.backend.Send(&pgproto3.ParseComplete{})
	case *pgproto3.Bind:
		st, err := find(s.statements, "26000", "prepared statement", msg.PreparedStatement)
		if err != nil {
			return err
		}
		if s.portals[msg.DestinationPortal], err = s.bind(st, msg); err != nil {
			delete(s.portals, msg.DestinationPortal)
			return err
		}
		s.backend.Send(&pgproto3.BindComplete{})
	case *pgproto3.Describe:
		p := &portal{}
		var err error
		if msg.ObjectType == 'S' {
			if p.statement, err = find(s.statements, "26000", "prepared statement", msg.Name); err != nil {
				return err
			}
			s.backend.Send(&pgproto3.ParameterDescription{ParameterOIDs: p.params})
		} else if p, err = find(s.portals, "34000", "portal", msg.Name); err != nil {
			return err
		}
		if s.describe(p); len(p.fields) == 0 {
			s.backend.Send(&pgproto3.NoData{})
		}
	case *pgproto3.Execute:
		p, err := find(s.portals, "34000", "portal", msg.Portal)
		if err != nil {
			return err
		}
		if msg.MaxRows != 0 {
			return &sqlError{"0A000", "reading a result in parts" + unsupported}
		}
		return s.run(p)
	case *pgproto3.Close:
		if msg.ObjectType == 'S' {
			delete(s.statements, msg.Name)
		} else {
			delete(s.portals, msg.Name)
		}
		s.backend.Send(&pgproto3.CloseComplete{})
	case *pgproto3.Flush:
		return s.backend.Flush()
	default:
		return &sqlError{"0A000", fmt.Sprintf("%T", msg) + unsupported}
	}
	return nil
}

func find[T any](m map[string]*T, code, kind, name string) (*T, error) {
	if v := m[name]; v != nil {
		return v, nil
	}
	return nil, &sqlError{code, fmt.Sprintf("%s %q does not exist", kind, name)}
}

// query runs the statements of the simple protocol.
func (s *session) query(sql string) error {
	texts := split(sql)
	if len(texts) == 0 {
		return s.run(&portal{statement: &statement{}})
	}
	for _, tokens := range texts {
		st, err := s.prepare(tokens, nil)
		if err != nil {
			return err
		}
		p := &portal{statement: st}
		s.describe(p)
		if err := s.run(p); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) describe(p *portal) {
	if len(p.fields) == 0 {
		return
	}
	fields := slices.Clone(p.fields)
	for i := range fields {
		fields[i].Format = format(p.formats, i)
	}
	s.backend.Send(&pgproto3.RowDescription{Fields: fields})
}

func (s *session) bind(st *statement, msg *pgproto3.Bind) (*portal, error) {
	if len(msg.Parameters) != len(st.params) {
		return nil, &sqlError{"08P01", fmt.Sprintf("%d parameters given, %d needed", len(msg.Parameters), len(st.params))}
	}
	p := &portal{statement: st, formats: slices.Clone(msg.ResultFormatCodes)}
	for i, src := range msg.Parameters {
		arg, err := decode(s.types, st.params[i], format(msg.ParameterFormatCodes, i), src)
		if err != nil {
			return nil, err
		}
		p.args = append(p.args, arg)
	}
	return p, nil
}
