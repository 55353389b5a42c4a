package libraries

import (
	"database/sql"

	"github.com/lib/pq"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

// pqPool opens a pool of lib/pq.
func pqPool(d *cloudsqlconn.Dialer, dsn string) (*sql.DB, error) {
	c, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	c.Dialer(postgres.PQDialer{Dialer: d})
	return sql.OpenDB(c), nil
}
