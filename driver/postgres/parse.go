package postgres

import (
	"errors"
	"regexp"

	"github.com/jackc/pgx/v5/pgconn"
)

// How pgx's errors show a data source name, and pieces of it.
var (
	whole = regexp.MustCompile("(?s)`.*`")
	piece = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// parseError returns pgx's error about a data source name without any of its
// text. pgx hides a password where it finds one, and where the quoting of the
// password itself is wrong it finds half of it.
func parseError(err error) error {
	var parse *pgconn.ParseConfigError
	if !errors.As(err, &parse) {
		return err
	}
	text := whole.ReplaceAllLiteralString(parse.Error(), "the data source name")
	text = piece.ReplaceAllLiteralString(text, `"..."`)
	return errors.New(text + "; the instance is given as host=project:region:instance, or as postgres://user:password@/database?host=project:region:instance")
}
