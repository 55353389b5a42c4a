package pgsqlite

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/ncruces/go-sqlite3"
)

// keywords may stand before a parenthesis that is no function's.
var keywords = strings.Fields(`ALL AND ANY AS BETWEEN BY CASE DISTINCT ELSE EXCEPT FROM HAVING ILIKE IN INTERSECT IS JOIN
	LIKE LIMIT NOT OFFSET ON OR RETURNING SELECT SET THEN UNION USING VALUES WHEN WHERE`)

// niladic are functions of PostgreSQL that have no parentheses.
var niladic = []string{"CURRENT_USER", "CURRENT_ROLE", "SESSION_USER", "CURRENT_CATALOG", "CURRENT_SCHEMA"}

// standard returns a statement without the names of the schemas that are always there, and with the words of PostgreSQL
// replaced that SQLite has others for. Of a cast's type the first word is left.
func standard(tokens []string) (t []string) {
	words := upper(tokens)
	for i := 0; i < len(tokens); i++ {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		switch {
		case next == "." && (words[i] == "PUBLIC" || words[i] == "PG_CATALOG") && (i == 0 || words[i-1] != "."):
			i++
			continue
		case strings.EqualFold(tokens[i], "ILIKE"):
			t = append(t, "LIKE")
		case words[i] == "DEFAULT" && len(tokens) > i+3 && nameRE.MatchString(next) && words[i+2] == "(" && words[i+3] == ")":
			t = append(t, tokens[i], "(", tokens[i+1], "(", ")", ")")
			i += 3
		case strings.HasPrefix(words[i], "::"):
			t = append(t, tokens[i])
			whole := append([]string{strings.TrimSpace(words[i][2:])}, words[i+1:min(i+10, len(words))]...)
			i += max(1, strings.Count(typeRE.FindString(strings.Join(whole, " ")+" "), " ")) - 1
		case slices.Contains(niladic, strings.ToUpper(tokens[i])) && next != "(" && (i == 0 || words[i-1] != "."):
			t = append(t, tokens[i], "(", ")")
		default:
			t = append(t, tokens[i])
		}
	}
	return t
}

// catalogs reports whether a statement is about the tables that describe tables.
func catalogs(words []string) bool {
	for i, w := range words {
		if strings.HasPrefix(w, "PG_") && !slices.Equal(words[i+1:min(i+2, len(words))], []string{"("}) || w == "INFORMATION_SCHEMA" {
			return true
		}
	}
	return false
}

// rewrite returns a statement as SQLite wants it.
func (s *session) rewrite(tokens []string, types []uint32) (string, error) {
	var out []string
	for i, t := range tokens {
		word := strings.ToUpper(t)
		switch {
		case strings.HasPrefix(t, "::") && i > 0:
			if types[i-1] == 0 {
				out = cast(out, strings.TrimSpace(t[2:]))
			}
			continue
		case word == "CURRENT_TIMESTAMP" || word != "NOW" && strings.HasPrefix(word, "NOW") && strings.HasSuffix(word, ")"):
			if t = "now()"; i > 0 && strings.EqualFold(tokens[i-1], "DEFAULT") {
				t = "(now())"
			}
		case t[0] == '\'' && len(t) > 1 && types[i] != 0:
			v, err := decode(s.types, types[i], pgtype.TextFormatCode, []byte(strings.ReplaceAll(t[1:len(t)-1], "''", "'")))
			if err != nil {
				return "", err
			}
			t = sqlite3.Quote(v)
		}
		out = append(out, t)
	}
	if strings.EqualFold(tokens[0], "CREATE") {
		return serialRE.ReplaceAllString(strings.Join(out, " "), "${1}INTEGER"), nil // the only type that numbers itself
	}
	return strings.Join(out, " "), nil
}

// cast puts the operand that out ends with into a CAST. Types that SQLite stores as text, such as timestamps, are left
// as they are.
func cast(out []string, to string) []string {
	switch typeOID(to) {
	case pgtype.Int8OID, pgtype.BoolOID:
		to = "INTEGER"
	case pgtype.Float8OID, pgtype.NumericOID:
		to = "REAL"
	case pgtype.ByteaOID:
		to = "BLOB"
	default:
		if to = strings.ToUpper(to); to != "TEXT" && !strings.Contains(to, "CHAR") {
			return out
		}
		to = "TEXT"
	}
	start := operand(out)
	return append(slices.Insert(out, start, "CAST", "("), "AS", to, ")")
}

// operand returns the place where the operand begins that the last word ends: a word, a name with dots, a parenthesis, a
// call, or CASE.
func operand(out []string) int {
	start := max(0, len(out)-1)
	switch {
	case len(out) == 0:
	case strings.EqualFold(out[start], "END"):
		if at := opened(out, "CASE", "END"); at >= 0 {
			return at
		}
	case out[start] == ")":
		start = max(0, opened(out, "(", ")"))
		if start == 0 || !nameRE.MatchString(out[start-1]) {
			return start
		}
		switch before := strings.ToUpper(out[start-1]); {
		case before == "OVER" || before == "FILTER":
			return operand(out[:start-1])
		case slices.Contains(keywords, before):
			return start
		}
		start-- // a function's
	}
	for start > 1 && out[start-1] == "." {
		start -= 2
	}
	return start
}
