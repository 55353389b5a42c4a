package pgsqlite

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/ncruces/go-sqlite3"
)

// A sqlError is an error that has its SQLSTATE.
type sqlError struct{ code, message string }

func (e *sqlError) Error() string { return e.message }

// states has SQLSTATEs for SQLite's codes, and words where a code stands for many errors.
var states = []struct {
	err        error
	text, code string
}{
	{sqlite3.CONSTRAINT_UNIQUE, "", "23505"},
	{sqlite3.CONSTRAINT_PRIMARYKEY, "", "23505"},
	{sqlite3.CONSTRAINT_NOTNULL, "", "23502"},
	{sqlite3.CONSTRAINT_FOREIGNKEY, "", "23503"},
	{sqlite3.CONSTRAINT_CHECK, "", "23514"},
	{sqlite3.MISMATCH, "", "22P02"},
	{sqlite3.BUSY, "", "40001"},
	{sqlite3.INTERRUPT, "", "57014"},
	{sqlite3.ERROR, "no such table", "42P01"},
	{sqlite3.ERROR, "no such column", "42703"},
	{sqlite3.ERROR, "has no column named", "42703"},
	{sqlite3.ERROR, "no such function", "42883"},
	{sqlite3.ERROR, "no such savepoint", "3B001"},
	{sqlite3.ERROR, "unknown database", "3F000"},
	{sqlite3.ERROR, "already exists", "42P07"},
	{sqlite3.ERROR, "syntax error", "42601"},
	{sqlite3.ERROR, "unrecognized token", "42601"},
	{sqlite3.ERROR, "incomplete input", "42601"},
}

func sqlstate(err error) (code, message string) {
	var own *sqlError
	if errors.As(err, &own) {
		return own.code, own.message
	}
	message = strings.TrimPrefix(strings.TrimPrefix(err.Error(), "sqlite3: "), "SQL logic error: ")
	for _, s := range states {
		if errors.Is(err, s.err) && strings.Contains(message, s.text) {
			if s.code == "42601" || s.code == "42883" || strings.HasSuffix(message, "no such column: interval") {
				message += "; " + thisIsSQLite
			}
			return s.code, message
		}
	}
	return "XX000", message
}

var (
	typeRE  = regexp.MustCompile(`^(?:DOUBLE PRECISION|CHARACTER VARYING|\w+)(?: \( \d+ (?:, \d+ )?\))?(?: WITH(?:OUT)? TIME ZONE)? `)
	tokenRE = regexp.MustCompile(`(?is)x?'(?:[^']|'')*'|"(?:[^"]|"")*"|(--[^\n]*|/\*.*?\*/|\s+)|\$\d+|::\s*\w+|now\s*\(\s*\)|` +
		`\.?\d[\d.]*(?:e[-+]?\d+)?|[\w\pL]+|->>?|[<>=!|]+|.`)
	operatorRE = regexp.MustCompile(`^(?:[-+*/%]|[<>=!|]+|LIKE)$`)
	serialRE   = regexp.MustCompile(`(?i)([\w"] )(?:(?:small|big)?serial|\w+ generated (?:always|by default) as identity)\b`)
	refusedRE  = regexp.MustCompile(`^(?:ANALYZE|CALL|CHECKPOINT|CLOSE|CLUSTER|COMMENT|COPY|DEALLOCATE|DECLARE|DISCARD|DO|EXECUTE|` +
		`EXPLAIN|FETCH|GRANT|IMPORT|LISTEN|LOAD|LOCK|MERGE|MOVE|NOTIFY|PREPARE|REASSIGN|REFRESH|REINDEX|REVOKE|SECURITY|` +
		`TABLE|TRUNCATE|UNLISTEN|VACUUM)$`)
)

// split returns the tokens of each statement. It leaves out blanks, comments and empty statements.
func split(sql string) [][]string {
	var statements [][]string
	var current []string
	for _, t := range append(tokenRE.FindAllStringSubmatch(sql, -1), []string{";", ""}) {
		switch {
		case t[1] != "":
		case t[0] != ";":
			current = append(current, t[0])
		case len(current) > 0:
			statements = append(statements, current)
			current = nil
		}
	}
	return statements
}

// upper returns the tokens in upper case, to compare them with, and names without quotes.
func upper(tokens []string) []string {
	words := make([]string, len(tokens))
	for i, t := range tokens {
		words[i] = strings.Trim(strings.ToUpper(t), `"`)
	}
	return words
}

// verb returns what a statement does, in the words of CommandComplete but for ROLLBACK TO. Nothing else than what is
// named here reaches SQLite, which has statements that open files.
func verb(words []string) (string, error) {
	if len(words) == 0 {
		return "", nil
	}
	switch first := words[0]; first {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "SAVEPOINT", "RELEASE", "SET", "RESET", "SHOW":
		return first, nil
	case "VALUES":
		return "SELECT", nil
	case "WITH":
		for _, w := range []string{"INSERT", "UPDATE", "DELETE"} {
			if slices.Contains(words, w) {
				return w, nil
			}
		}
		return "SELECT", nil
	case "BEGIN", "START":
		return "BEGIN", nil
	case "COMMIT", "END":
		return "COMMIT", nil
	case "ROLLBACK", "ABORT":
		if slices.Contains(words, "TO") {
			return "ROLLBACK TO", nil
		}
		return "ROLLBACK", nil
	case "CREATE", "DROP", "ALTER":
		object := slices.DeleteFunc(slices.Clone(words[1:]), func(w string) bool {
			return w == "UNIQUE" || w == "TEMP" || w == "TEMPORARY"
		})
		if len(object) > 0 && slices.Contains([]string{"TABLE", "INDEX", "VIEW"}, object[0]) {
			return first + " " + object[0], nil
		}
		return "", &sqlError{"0A000", strings.Join(words[:min(2, len(words))], " ") + unsupported}
	}
	if refusedRE.MatchString(words[0]) {
		return "", &sqlError{"0A000", words[0] + unsupported}
	}
	return "", &sqlError{"42601", "syntax error at or near " + strconv.Quote(words[0])}
}

// valueTypes returns a type for every parameter and quoted value that has a cast or stands beside a column, in VALUES or
// after LIMIT, and 0 for other tokens. PostgreSQL converts such text by itself, and SQLite does not.
func (s *session) valueTypes(words []string) ([]uint32, error) {
	columns := map[string]uint32{ // and functions
		"COUNT": pgtype.Int8OID, "LENGTH": pgtype.Int8OID, "SUM": pgtype.Float8OID, "AVG": pgtype.Float8OID,
	}
	insert := words[0] == "INSERT" && len(words) > 2
	var target []uint32 // the columns that VALUES fills
	stmt, _, err := s.db.Prepare(`SELECT upper(t.name), upper(c.name), c.type
		FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'`)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	for stmt.Step() {
		if table := stmt.ColumnText(0); slices.Contains(words, table) {
			oid := typeOID(stmt.ColumnText(2))
			columns[stmt.ColumnText(1)] = oid
			if insert && table == words[2] {
				target = append(target, oid)
			}
		}
	}
	if err := stmt.Err(); err != nil {
		return nil, err
	}

	types := make([]uint32, len(words))
	padded := append(append([]string{"", ""}, words...), "", "")
	depth, position, values := 0, 0, false
	for i, w := range words {
		before, last, next, after := padded[i], padded[i+1], padded[i+3], padded[i+4]
		switch {
		case w == "(":
			if depth++; depth == 1 {
				position = 0
			}
			if insert && !values {
				target = nil
			}
		case w == ")":
			depth--
		case w == "," && depth == 1:
			position++
		case w == "VALUES":
			values = true
		case insert && !values && depth == 1 && w != ",":
			target = append(target, columns[w])
		case !strings.HasPrefix(w, "$") && !strings.HasPrefix(w, "'"):
		case strings.HasPrefix(next, "::"):
			types[i] = typeOID(strings.TrimSpace(next[2:]))
		case last == "LIMIT" || last == "OFFSET":
			types[i] = pgtype.Int8OID
		case values && depth == 1 && position < len(target):
			types[i] = target[position]
		case operatorRE.MatchString(last) && before == ")":
			call := max(1, opened(padded[:i+1], "(", ")"))
			types[i] = cmp.Or(columns[padded[call-1]], columns[padded[call+1]])
		case operatorRE.MatchString(last):
			types[i] = columns[before]
		case operatorRE.MatchString(next):
			types[i] = columns[after]
		}
	}
	return types, nil
}

// opened returns the place of the word that the last word closes, such as a parenthesis, or -1.
func opened(words []string, open, shut string) int {
	depth := 0
	for i, w := range slices.Backward(words) {
		switch {
		case strings.EqualFold(w, shut):
			depth++
		case strings.EqualFold(w, open):
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// paramTypes returns the types of a statement's parameters: those that the client declared, else those known.
func paramTypes(tokens []string, types, declared []uint32) ([]uint32, error) {
	var params []uint32
	for i, t := range tokens {
		if t[0] != '$' || len(t) == 1 {
			continue
		}
		n, err := strconv.Atoi(t[1:])
		if err != nil || n < 1 || n > 65535 {
			return nil, &sqlError{"42P02", "there is no parameter " + t}
		}
		params = append(params, make([]uint32, max(0, n-len(params)))...)
		if params[n-1] == 0 {
			params[n-1] = types[i]
		}
	}
	for i, oid := range declared[:min(len(declared), len(params))] {
		if oid != 0 {
			params[i] = oid
		}
	}
	return params, nil
}
