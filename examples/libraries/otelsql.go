package libraries

import (
	"database/sql"
	"database/sql/driver"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/otel/trace"
)

// otelWith opens a pool whose queries are spans.
func otelWith(c driver.Connector, provider trace.TracerProvider) *sql.DB {
	return otelsql.OpenDB(c, otelsql.WithTracerProvider(provider))
}

// otelOpen does so with a name given to RegisterDriver.
func otelOpen(driver, dsn string, provider trace.TracerProvider) (*sql.DB, error) {
	return otelsql.Open(driver, dsn, otelsql.WithTracerProvider(provider))
}
