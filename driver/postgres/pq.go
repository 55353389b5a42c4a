package postgres

import (
	"context"
	"net"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// PQDialer makes github.com/lib/pq connect through a Dialer: pass it to the Dialer
// method of a pq.Connector made from a data source name like
//
//	host=project:region:instance user=app password=secret dbname=shop sslmode=disable
//
// sslmode=disable is needed, since there is no TLS inside the tunnel. An IAM login,
// with [cloudsqlconn.WithIAMAuthN], needs the user in PostgreSQL's form, and is
// not repeated: see [cloudsqlconn.WithLoginAfterRefresh]. lib/pq's requests to cancel a
// query are Dials of the instance, and so reach any node of a read pool.
type PQDialer struct {
	Dialer  *cloudsqlconn.Dialer
	Options []cloudsqlconn.DialOption
}

// DialContext connects to the instance that the host of addr names.
func (d PQDialer) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	instance, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	return sqldriver.Dial(ctx, d.Dialer, instance, sqldriver.Postgres, d.Options)
}

// Dial is DialContext without a context.
func (d PQDialer) Dial(network, addr string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, addr)
}

// DialTimeout is DialContext with a timeout.
func (d PQDialer) DialTimeout(network, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, addr)
}
