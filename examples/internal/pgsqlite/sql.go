package pgsqlite

import (
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
	message = strings.TrimPrefix(err.Error(), "sqlite3: ")
	for _, s := range states {
		if errors.Is(err, s.err) && strings.Contains(message, s.text) {
			return s.code, message
		}
	}
	return "XX000", message
}

var (
	token = regexp.MustCompile(`(?is)'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$\d+(?:::\w+)?|now\s*\(\s*\)|` +
		`\w+|[<>=!|]+|\s+|.`)
	operator   = regexp.MustCompile(`^(?:[-+*/%]|[<>=!|]+|LIKE)$`)
	autonumber = regexp.MustCompile(`(?i)([\w"]\s+)(?:(?:small|big)?serial|\w+\s+generated\s+(?:always|by\s+default)\s+as\s+identity)\b`)
	refused    = regexp.MustCompile(`^(?:ANALYZE|CALL|CHECKPOINT|CLOSE|CLUSTER|COMMENT|COPY|DEALLOCATE|DECLARE|DISCARD|DO|EXECUTE|` +
		`EXPLAIN|FETCH|GRANT|IMPORT|LISTEN|LOAD|LOCK|MERGE|MOVE|NOTIFY|PREPARE|REASSIGN|REFRESH|REINDEX|RESET|REVOKE|SECURITY|` +
		`SET|SHOW|TABLE|TRUNCATE|UNLISTEN|VACUUM)$`)
)

// split returns the tokens of each statement, blanks and comments among them. It leaves out empty statements.
func split(sql string) [][]string {
	var statements [][]string
	var current []string
	for _, t := range append(token.FindAllString(sql, -1), ";") {
		if t != ";" {
			current = append(current, t)
			continue
		}
		if len(words(current)) > 0 {
			statements = append(statements, current)
		}
		current = nil
	}
	return statements
}

// words returns the tokens in upper case, without blanks, comments and the quotes of names.
func words(tokens []string) []string {
	var words []string
	for _, t := range tokens {
		if strings.TrimSpace(t) != "" && !strings.HasPrefix(t, "--") && !strings.HasPrefix(t, "/*") {
			words = append(words, strings.Trim(strings.ToUpper(t), `"`))
		}
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
	case "SELECT", "INSERT", "UPDATE", "DELETE", "SAVEPOINT", "RELEASE":
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
		return "", &sqlError{"0A000", strings.Join(words[:min(2, len(words))], " ") + " is not supported by the quickstart engine"}
	}
	if refused.MatchString(words[0]) {
		return "", &sqlError{"0A000", words[0] + " is not supported by the quickstart engine"}
	}
	return "", &sqlError{"42601", "syntax error at or near " + strconv.Quote(words[0])}
}

// rewrite returns a statement as SQLite wants it.
func rewrite(verb string, tokens []string) string {
	var b strings.Builder
	last := ""
	for _, t := range tokens {
		if upper := strings.ToUpper(t); upper == "CURRENT_TIMESTAMP" || upper != "NOW" && strings.HasPrefix(upper, "NOW") && upper[len(upper)-1] == ')' {
			if t = "now()"; last == "DEFAULT" {
				t = "(now())"
			}
		}
		if b.WriteString(t); strings.TrimSpace(t) != "" {
			last = strings.ToUpper(t)
		}
	}
	if verb == "CREATE TABLE" {
		return autonumber.ReplaceAllString(b.String(), "${1}INTEGER") // the only type that SQLite numbers by itself
	}
	return b.String()
}

// paramTypes returns the types of a statement's parameters: those that the client declared, else those of the columns
// beside them, else 0.
func (s *session) paramTypes(words []string, declared []uint32) ([]uint32, error) {
	insert := words[0] == "INSERT"
	columns := map[string]uint32{}
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

	word := func(i int) string {
		if i < 0 || i >= len(words) {
			return ""
		}
		return words[i]
	}
	var params []uint32
	depth, position, values := 0, 0, false
	for i, w := range words {
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
		case strings.HasPrefix(w, "$"):
			number, cast, _ := strings.Cut(w[1:], "::")
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 || n > 65535 {
				return nil, &sqlError{"42P02", "there is no parameter " + w}
			}
			params = append(params, make([]uint32, max(0, n-len(params)))...)
			switch {
			case params[n-1] != 0:
			case cast != "":
				params[n-1] = typeOID(cast)
			case word(i-1) == "LIMIT" || word(i-1) == "OFFSET":
				params[n-1] = pgtype.Int8OID
			case values && depth == 1 && position < len(target):
				params[n-1] = target[position]
			case operator.MatchString(word(i - 1)):
				params[n-1] = columns[word(i-2)]
			case operator.MatchString(word(i + 1)):
				params[n-1] = columns[word(i+2)]
			}
		}
	}
	for i, oid := range declared[:min(len(declared), len(params))] {
		if oid != 0 {
			params[i] = oid
		}
	}
	return params, nil
}
