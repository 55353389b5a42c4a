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
	nameRE      = regexp.MustCompile(`^[\w\pL]+$`)
	callRE      = regexp.MustCompile(`^([\w\pL]+) ?\(`)
	qualifiedRE = regexp.MustCompile(`^(?:[\w\pL]+|"(?:[^"]|"")*") \. ([\w\pL]+)$`)
	quotedRE    = regexp.MustCompile(`^(?:(?:[\w\pL]+|"(?:[^"]|"")*") \. )?"((?:[^"]|"")*)"$`)
	castRE      = regexp.MustCompile(`^CAST \( (.*) AS [A-Z]+ \)$`)
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
		if storedTimeRE.MatchString(stmt.ColumnText(i)) {
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

// columnName returns PostgreSQL's name for a column that has one, for a column that is cast, a call and CASE. Others are
// "?column?", as most are in PostgreSQL, too. SQLite's label is the text of an expression that has no name.
func columnName(label string, tokens []string) string {
	if m := qualifiedRE.FindStringSubmatch(label); m != nil {
		return m[1]
	}
	if m := castRE.FindStringSubmatch(label); m != nil && wholeCall(label) {
		if quoted := quotedRE.FindStringSubmatch(m[1]); quoted != nil {
			return strings.ReplaceAll(quoted[1], `""`, `"`)
		}
		return columnName(m[1], tokens)
	}
	switch {
	case slices.Contains(tokens, `"`+strings.ReplaceAll(label, `"`, `""`)+`"`):
		return label
	case wholeCall(label):
		return strings.ToLower(callRE.FindStringSubmatch(label)[1])
	case strings.HasPrefix(strings.ToUpper(label), "CASE "):
		return "case"
	case isBool(label) && nameRE.MatchString(label):
		return "bool"
	case nameRE.MatchString(label) && (label[0] < '0' || label[0] > '9'):
		return label
	}
	return "?column?"
}

// wholeCall reports whether an expression is one call of a function, and nothing more.
func wholeCall(expression string) bool {
	if !callRE.MatchString(expression) {
		return false
	}
	words := split(expression)
	return len(words) == 1 && len(words[0]) > 2 && words[0][len(words[0])-1] == ")" && opened(words[0], "(", ")") == 1 ||
		expression == "now()"
}
