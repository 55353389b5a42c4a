package main

import (
	"context"
	"errors"

	"github.com/cloudsqlconn/cloudsqlconn/internal/dbserver"
)

// Who logs in at the database, and where.
const (
	databaseUser     = "app"
	databasePassword = "secret"
	databaseIAMUser  = "app@my-project.iam"
	databaseName     = "interop"
)

// database is a PostgreSQL that all scenarios share. The zero value is none.
type database struct{ TCP, Socket string }

// startDatabase starts it.
func startDatabase(ctx context.Context) (database, *dbserver.Server, error) {
	server, err := dbserver.StartPostgres(ctx, dbserver.Options{Args: []string{"-c", "max_connections=300"}})
	if err != nil {
		return database{}, nil, err
	}
	if err := server.Exec(ctx,
		"CREATE ROLE app LOGIN PASSWORD 'secret'",
		`CREATE ROLE "app@my-project.iam" LOGIN`,
		"CREATE DATABASE interop OWNER app",
	); err != nil {
		return database{}, nil, errors.Join(err, server.Close())
	}
	return database{server.TCPAddr(), server.SocketAddr()}, server, nil
}
