package pgsqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/ncruces/go-sqlite3"
)

// prepare checks one statement and finds the types of its parameters, unless the client gave them, and of its rows.
func (s *session) prepare(tokens []string, oids []uint32) (*statement, error) {
	words := upper(tokens)
	verb, err := verb(words)
	st := &statement{verb: verb}
	if err != nil || verb == "" || verb == "BEGIN" || verb == "COMMIT" || verb == "ROLLBACK" {
		return st, err
	}
	switch verb {
	case "SET", "RESET":
		st.set, err = parseSet(tokens)
		return st, err
	case "SHOW":
		if tokens, err = s.parseShow(tokens); err != nil {
			return nil, err
		}
	}
	tokens = standard(tokens)
	words = upper(tokens)
	types, err := s.valueTypes(words)
	if err != nil {
		return nil, err
	}
	if st.params, err = paramTypes(tokens, types, oids); err != nil {
		return nil, err
	}
	if st.sql, err = s.rewrite(tokens, types); err != nil {
		return nil, err
	}
	stmt, _, err := s.db.Prepare(st.sql)
	if err != nil {
		if catalogs(words) {
			err = &sqlError{"42P01", "PostgreSQL's catalogs are not there: " + thisIsSQLite + "; " +
				"SELECT name, sql FROM sqlite_schema shows the tables"}
		}
		return nil, err
	}
	defer stmt.Close()
	st.fields = fields(stmt, tokens)
	return st, nil
}

// allowed refuses what the state of the transaction does not permit.
func (s *session) allowed(verb string) error {
	switch {
	case s.status == failed && verb != "COMMIT" && !strings.HasPrefix(verb, "ROLLBACK"):
		return &sqlError{"25P02", "current transaction is aborted, commands ignored until end of transaction block"}
	case s.status == idle && (verb == "SAVEPOINT" || verb == "RELEASE" || verb == "ROLLBACK TO"):
		return &sqlError{"25P01", verb + " can only be used in transaction blocks"}
	}
	return nil
}

// run executes p and sends its rows.
func (s *session) run(p *portal) error {
	if err := s.allowed(p.verb); err != nil {
		return err
	}
	tag := p.verb
	switch tag {
	case "":
		s.backend.Send(&pgproto3.EmptyQueryResponse{})
		return nil
	case "BEGIN", "COMMIT", "ROLLBACK":
		var err error
		if tag, err = s.transact(tag); err != nil {
			return err
		}
	case "SET", "RESET":
		s.change(p.set)
	default:
		rows, err := s.rows(p)
		if err != nil {
			return err
		}
		switch tag {
		case "SELECT":
			tag = fmt.Sprint("SELECT ", rows)
		case "INSERT":
			tag = fmt.Sprint("INSERT 0 ", s.db.Changes())
		case "UPDATE", "DELETE":
			tag = fmt.Sprint(tag, " ", s.db.Changes())
		case "ROLLBACK TO":
			tag, s.status = "ROLLBACK", active
		}
	}
	s.backend.Send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
	return nil
}

// transact begins or ends a transaction. It returns what was done: a failed one cannot be committed.
func (s *session) transact(verb string) (string, error) {
	s.db.SetInterrupt(context.Background()) // none of this takes time, and the status must stay true
	switch {
	case (verb == "BEGIN") == (s.status != idle):
		return verb, nil // PostgreSQL would send a warning
	case verb == "BEGIN":
		s.status = active
		return verb, s.db.Exec("BEGIN")
	case s.status == failed:
		verb = "ROLLBACK"
	}
	s.status = idle
	if s.db.GetAutocommit() {
		return verb, nil // some errors make SQLite itself roll back
	}
	err := s.db.Exec(verb)
	if err != nil {
		err = errors.Join(err, s.db.Exec("ROLLBACK"))
	}
	return verb, err
}

// rows executes p and sends its rows.
func (s *session) rows(p *portal) (rows int, err error) {
	stmt, _, err := s.db.Prepare(p.sql)
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	if stmt.ColumnCount() != len(p.fields) {
		return 0, &sqlError{"0A000", "cached plan must not change result type"}
	}
	if err := bindAll(stmt, p.args); err != nil {
		return 0, err
	}
	for {
		if !stmt.Step() {
			err := stmt.Err()
			if errors.Is(err, sqlite3.BUSY) && !errors.Is(err, sqlite3.BUSY_SNAPSHOT) {
				_ = stmt.Reset() // no row yet: another session is writing, and mvcc waited for it
				continue
			}
			return rows, err
		}
		values := make([][]byte, len(p.fields))
		for i, f := range p.fields {
			if values[i], err = encode(s.types, f.DataTypeOID, format(p.formats, i), stmt, i); err != nil {
				return rows, &sqlError{"22P02", fmt.Sprintf("column %s: %v", f.Name, err)}
			}
		}
		s.backend.Send(&pgproto3.DataRow{Values: values})
		if rows++; rows%100 == 0 {
			if err := s.backend.Flush(); err != nil {
				return rows, err
			}
		}
	}
}
