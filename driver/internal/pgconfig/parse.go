package pgconfig

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// How pgx's errors show a data source name, and pieces of it.
var (
	whole = regexp.MustCompile("(?s)`.*`")
	piece = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// Parse reads a data source name as parse does, which is pgx's or pgxpool's. No
// files of TLS are read. The errors have nothing of its text: pgx hides a password
// where it finds one, and where the quoting of the password itself is wrong it
// finds half of it.
func Parse[C any](parse func(string) (C, error), dsn string) (C, error) {
	cfg, err := parse(withoutFiles(dsn))
	return cfg, withoutText(err)
}

func withoutText(err error) error {
	var parse *pgconn.ParseConfigError
	if !errors.As(err, &parse) {
		return err
	}
	text := whole.ReplaceAllLiteralString(parse.Error(), "the data source name")
	text = piece.ReplaceAllLiteralString(text, `"..."`)
	return fmt.Errorf("%w: %s; the instance is given as host=project:region:instance, or as postgres://user:password@/database?host=project:region:instance", cloudsqlconn.ErrConfig, text)
}
