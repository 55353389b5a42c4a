package libraries

import (
	"context"
	"database/sql"
	"os"

	atlaspostgres "ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// bunTitle works with Bun.
func bunTitle(ctx context.Context, pool *sql.DB) (title string, err error) {
	db := bun.NewDB(pool, pgdialect.New())
	err = db.NewSelect().ColumnExpr("?", "Book One").Scan(ctx, &title)
	return title, err
}

// entTitle works with the driver that a generated client of ent takes:
// ent.NewClient(ent.Driver(driver)). No client is here: for an entity of one field ent
// generates 3,200 lines.
func entTitle(ctx context.Context, pool *sql.DB) (string, error) {
	driver := entsql.OpenDB(dialect.Postgres, pool)
	query, args := entsql.Dialect(dialect.Postgres).
		Select("title").From(entsql.Table("books")).Where(entsql.EQ("id", 1)).Query()
	var rows entsql.Rows
	if err := driver.Query(ctx, query, args, &rows); err != nil {
		return "", err
	}
	defer rows.Close()
	return entsql.ScanString(rows)
}

// gooseUp runs the migrations in the folder goose.
func gooseUp(ctx context.Context, pool *sql.DB) error {
	p, err := goose.NewProvider(goose.DialectPostgres, pool, os.DirFS("goose"))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// atlasTables returns the names of the tables in a schema.
func atlasTables(ctx context.Context, pool *sql.DB, name string) (tables []string, err error) {
	driver, err := atlaspostgres.Open(pool)
	if err != nil {
		return nil, err
	}
	s, err := driver.InspectSchema(ctx, name, &schema.InspectOptions{Mode: schema.InspectTables})
	if err != nil {
		return nil, err
	}
	for _, t := range s.Tables {
		tables = append(tables, t.Name)
	}
	return tables, nil
}
