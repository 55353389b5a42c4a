package pgsqlite

import (
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/ncruces/go-sqlite3"
)

var (
	name      = regexp.MustCompile(`^[\w\pL]+$`)
	call      = regexp.MustCompile(`^([\w\pL]+) ?\(`)
	qualified = regexp.MustCompile(`^[\w\pL]+ \. ([\w\pL]+)$`)
	castName  = regexp.MustCompile(`^CAST \( (.*) AS [A-Z]+ \)$`)
)

// fields describes the rows of stmt. SQLite has no types for computed columns, so a first row must show them.
func fields(stmt *sqlite3.Stmt, tokens []string) []pgproto3.FieldDescription {
	var fields []pgproto3.FieldDescription
	row := stmt.ReadOnly() && stmt.ColumnCount() > 0 && stmt.Step()
	for i := range stmt.ColumnCount() {
		label := stmt.ColumnName(i)
		oid := typeOID(stmt.ColumnDeclType(i))
		switch {
		case oid != 0:
		case isBool(label):
			oid = pgtype.BoolOID
		case row:
			oid = shownOID(stmt, i)
		}
		fields = append(fields, pgproto3.FieldDescription{
			Name: []byte(columnName(label, tokens)), DataTypeOID: oid, DataTypeSize: -1, TypeModifier: -1,
		})
	}
	return fields
}

// shownOID returns the type of the value in column i.
func shownOID(stmt *sqlite3.Stmt, i int) uint32 {
	switch stmt.ColumnType(i) {
	case sqlite3.INTEGER:
		return pgtype.Int8OID
	case sqlite3.FLOAT:
		return pgtype.Float8OID
	case sqlite3.BLOB:
		return pgtype.ByteaOID
	case sqlite3.TEXT:
		if storedTime.MatchString(stmt.ColumnText(i)) {
			return pgtype.TimestamptzOID
		}
		return pgtype.TextOID
	}
	return 0
}

// isBool reports whether a column without a name of its own is a condition by its looks.
func isBool(label string) bool {
	label = strings.ToUpper(label)
	return label == "TRUE" || label == "FALSE" || wholeCall(label) && strings.HasPrefix(label, "EXISTS (") ||
		strings.HasPrefix(label, "NOT EXISTS (") && wholeCall(label[len("NOT "):])
}

// columnName returns PostgreSQL's name for a column. SQLite's is the text of an expression that has no name.
func columnName(label string, tokens []string) string {
	if m := qualified.FindStringSubmatch(label); m != nil {
		return m[1]
	}
	if m := castName.FindStringSubmatch(label); m != nil && wholeCall(label) {
		return columnName(m[1], tokens)
	}
	switch {
	case slices.Contains(tokens, `"`+strings.ReplaceAll(label, `"`, `""`)+`"`):
		return label
	case wholeCall(label):
		return strings.ToLower(call.FindStringSubmatch(label)[1])
	case strings.HasPrefix(strings.ToUpper(label), "CASE "):
		return "case"
	case isBool(label) && name.MatchString(label):
		return "bool"
	case name.MatchString(label) && (label[0] < '0' || label[0] > '9'):
		return label
	}
	return "?column?"
}

// wholeCall reports whether an expression is one call of a function, and nothing more.
func wholeCall(expression string) bool {
	if !call.MatchString(expression) {
		return false
	}
	words := split(expression)
	return len(words) == 1 && len(words[0]) > 2 && words[0][len(words[0])-1] == ")" && opening(words[0]) == 1 ||
		expression == "now()"
}
