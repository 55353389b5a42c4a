package libraries

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"net/url"

	"github.com/golang-migrate/migrate/v4"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	_ "github.com/golang-migrate/migrate/v4/source/file"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// migrateWith runs the migrations in the folder migrations, up and down, on a
// pool that is there, which golang-migrate closes.
func migrateWith(pool *sql.DB) error {
	instance, err := migratepgx.WithInstance(pool, &migratepgx.Config{})
	if err != nil {
		return err
	}
	m, err := migrate.NewWithDatabaseInstance("file://migrations", "shop", instance)
	if err != nil {
		return err
	}
	return upAndDown(m)
}

// migrateURL does so by a URL, as golang-migrate's command takes one: to a door
// that Serve opens, and that stays open until ctx ends.
func migrateURL(ctx context.Context, d *cloudsqlconn.Dialer, instance string, user *url.Userinfo, database string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, l, instance) }() // until cancel
	door := url.URL{Scheme: "pgx5", User: user, Host: l.Addr().String(), Path: database, RawQuery: "sslmode=disable"}
	m, err := migrate.New("file://migrations", door.String())
	if err == nil {
		err = upAndDown(m)
	}
	cancel()
	return errors.Join(err, <-served)
}

func upAndDown(m *migrate.Migrate) error {
	err := m.Up()
	if err == nil {
		err = m.Down()
	}
	source, database := m.Close()
	return errors.Join(err, source, database)
}
