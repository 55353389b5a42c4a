package pgsqlite

import (
	"maps"
	"strings"
)

// reported are the settings that a client is told of when it logs in.
var reported = []string{"server_version", "server_encoding", "client_encoding", "standard_conforming_strings", "integer_datetimes",
	"DateStyle", "IntervalStyle", "TimeZone", "application_name", "is_superuser", "session_authorization"}

// newSettings returns what SHOW says until SET changes it. None of it has an effect: the values are those that are true.
func newSettings(user, application string) map[string]string {
	return map[string]string{
		"server_version":                serverVersion,
		"server_encoding":               "UTF8",
		"client_encoding":               "UTF8",
		"standard_conforming_strings":   "on",
		"integer_datetimes":             "on",
		"datestyle":                     "ISO, MDY",
		"intervalstyle":                 "postgres",
		"timezone":                      "UTC",
		"application_name":              application,
		"is_superuser":                  "off",
		"session_authorization":         user,
		"search_path":                   "public",
		"transaction_isolation":         "repeatable read",
		"default_transaction_isolation": "repeatable read",
		"transaction_read_only":         "off",
		"max_identifier_length":         "63",
	}
}

// A setting is a name in lower case with what it is set to. The name "all" resets all.
type setting struct {
	name, value string
	reset       bool
}

// parseSet reads SET and RESET. What SET TRANSACTION wants is what there is.
func parseSet(tokens []string) ([]setting, error) {
	words := upper(tokens)
	rest := tokens[1:]
	if len(words) > 2 && (words[1] == "SESSION" || words[1] == "LOCAL") {
		rest = rest[1:]
	}
	words = upper(rest)
	switch {
	case len(words) == 0:
	case words[0] == "TRANSACTION" || words[0] == "CHARACTERISTICS":
		return nil, nil
	case words[0] == "ROLE" || words[0] == "AUTHORIZATION" || words[0] == "CONSTRAINTS":
		return nil, &sqlError{"0A000", "SET " + words[0] + unsupported}
	case strings.EqualFold(tokens[0], "RESET"):
		return []setting{{name: strings.ToLower(strings.Join(words, "")), reset: true}}, nil
	case len(words) > 2 && words[0] == "TIME" && words[1] == "ZONE":
		return []setting{newSetting("timezone", rest[2:])}, nil
	case len(words) > 1 && words[0] == "NAMES":
		return []setting{newSetting("client_encoding", rest[1:])}, nil
	default:
		for i, w := range words {
			if (w == "=" || w == "TO") && i > 0 && i+1 < len(words) {
				return []setting{newSetting(strings.ToLower(strings.Join(words[:i], "")), rest[i+1:])}, nil
			}
		}
	}
	return nil, &sqlError{"42601", "syntax error at or near \"" + tokens[len(tokens)-1] + `"`}
}

func newSetting(name string, value []string) setting {
	if len(value) == 1 && strings.EqualFold(value[0], "DEFAULT") {
		return setting{name: name, reset: true}
	}
	var b strings.Builder
	for _, t := range value {
		switch {
		case t == ",":
			b.WriteString(", ")
		case t[0] == '\'' && len(t) > 1:
			b.WriteString(strings.ReplaceAll(t[1:len(t)-1], "''", "'"))
		default:
			b.WriteString(strings.Trim(t, `"`))
		}
	}
	return setting{name: name, value: b.String()}
}

// change does what SET and RESET say, at once and for the session, within a transaction, too.
func (s *session) change(set []setting) {
	for _, one := range set {
		original, ok := s.original[one.name]
		switch {
		case one.reset && one.name == "all":
			s.settings = maps.Clone(s.original)
		case !one.reset:
			s.settings[one.name] = one.value
		case ok:
			s.settings[one.name] = original
		default:
			delete(s.settings, one.name)
		}
	}
}

// parseShow returns the query that SHOW stands for.
func (s *session) parseShow(tokens []string) ([]string, error) {
	name := strings.ToLower(strings.Join(upper(tokens[1:]), ""))
	if name == "transactionisolationlevel" {
		name = "transaction_isolation"
	}
	if _, ok := s.settings[name]; !ok {
		return nil, &sqlError{"42704", "unrecognized configuration parameter \"" + name + `"`}
	}
	return []string{"SELECT", "current_setting", "(", "'" + strings.ReplaceAll(name, "'", "''") + "'", ")", "AS", `"` + strings.ReplaceAll(name, `"`, `""`) + `"`}, nil
}
