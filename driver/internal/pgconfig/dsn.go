// Package pgconfig makes configurations of pgx fit for a Dialer's tunnel. What PostgreSQL
// alone has in a data source name, such as load_balance_hosts, is taken out of it in
// settings.go; what all drivers have, in params.go of sqldriver. It knows nothing of
// connections.
package pgconfig

import (
	"cmp"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jackc/pgservicefile"
)

// withoutFiles returns dsn, for which pgx reads no certificates and no keys: those
// of the data source name, of PGSSLROOTCERT, PGSSLCERT and PGSSLKEY, of service
// files, and in ~/.postgresql.
func withoutFiles(dsn string) string {
	rest, query, ok := split(dsn)
	if !ok {
		if slashes := len(dsn) - len(strings.TrimRight(dsn, `\`)); slashes%2 == 1 {
			dsn = dsn[:len(dsn)-1] // it escapes the end, says pgx, and not what follows here
		}
		if pairs := pair.FindAllStringSubmatch(dsn, -1); len(pairs) > 0 && pairs[len(pairs)-1][2] == "" {
			dsn += "''" // or what follows would be the value
		}
		return dsn + " sslrootcert='' sslcert='' sslkey=''"
	}
	if query = strings.TrimSuffix(query, "&"); query != "" {
		query += "&"
	}
	return rest + "?" + query + "sslrootcert=&sslcert=&sslkey="
}

// names reports whether dsn, its variable in the environment or a service file has
// the setting user or host. If none does, pgx has taken the operating system's user,
// or the host of a server on this machine.
func names(setting, dsn string) bool {
	s := pairs(dsn)
	if s[setting] != "" || os.Getenv("PG"+strings.ToUpper(setting)) != "" {
		return true
	}
	service := cmp.Or(s["service"], os.Getenv("PGSERVICE"))
	if service == "" {
		return false
	}
	home, _ := os.UserHomeDir()
	file, err := pgservicefile.ReadServicefile(cmp.Or(s["servicefile"], os.Getenv("PGSERVICEFILE"), filepath.Join(home, ".pg_service.conf")))
	if err != nil {
		return false
	}
	found, err := file.GetService(service)
	return err == nil && found.Settings[setting] != ""
}

// pair is a keyword and its value, in a text that pgx has read.
var (
	pair    = regexp.MustCompile(`(?s)([^\s=]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)`)
	escaped = regexp.MustCompile(`(?s)\\(.)`)
)

// pairs are the settings that dsn names, and their values, but for what it leaves empty.
func pairs(dsn string) map[string]string {
	s := make(map[string]string)
	set := func(name, value string) {
		if value != "" {
			s[name] = value
		}
	}
	rest, query, ok := split(dsn)
	if !ok {
		for _, p := range pair.FindAllStringSubmatch(dsn, -1) {
			value := p[2]
			if strings.HasPrefix(value, "'") {
				value = strings.Trim(value, "'")
			}
			set(p[1], escaped.ReplaceAllString(value, "$1"))
		}
		return s
	}
	set("user", userInfo(rest))
	set("host", hosts(rest))
	for p := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(p, "=")
		if value, err := url.PathUnescape(value); err == nil {
			set(name, value)
		}
	}
	return s
}

// userInfo returns the user before the hosts of a URL, as it is written there.
func userInfo(rawURL string) string {
	_, rest, _ := strings.Cut(rawURL, "://")
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		name, _, _ := strings.Cut(rest[:i], ":")
		return name
	}
	return ""
}

// hosts returns what a URL has for hosts, as it is written there, ports included.
func hosts(rawURL string) string {
	_, rest, _ := strings.Cut(rawURL, "://")
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	list, _, _ := strings.Cut(rest, "/")
	return list
}

// split cuts off the query of a URL. A password can have a question mark in it.
func split(dsn string) (rest, query string, ok bool) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn, "", false
	}
	start := strings.Index(dsn, "://") + len("://")
	if i := strings.IndexAny(dsn[start:], "@/"); i >= 0 && dsn[start+i] == '@' {
		start += i
	}
	rest, query, _ = strings.Cut(dsn[start:], "?")
	return dsn[:start] + rest, query, true
}
