package sqldriver

import (
	"context"
	"fmt"
	"net"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

// The engines, as the names of their versions begin.
const (
	Postgres  = string(engine.Postgres)
	MySQL     = string(engine.MySQL)
	SQLServer = string(engine.SQLServer)
)

// packages are the driver packages.
var packages = map[string]string{Postgres: "driver/postgres", MySQL: "driver/mysql", SQLServer: "driver/sqlserver"}

// Dial connects to an instance that runs the engine want. Another engine is an error
// before anything is sent to it; one that the Admin API does not name may be
// the right one.
func Dial(ctx context.Context, d *cloudsqlconn.Dialer, instance, want string, opts []cloudsqlconn.DialOption) (net.Conn, error) {
	conn, err := d.Dial(ctx, instance, opts...)
	if err != nil {
		return nil, err
	}
	info, _ := cloudsqlconn.InfoOf(conn)
	version := info.EngineVersion
	runs := string(engine.Of(version))
	if runs == "" || runs == want {
		return conn, nil
	}
	_ = conn.Close()
	return nil, &cloudsqlconn.Error{
		Op:       cloudsqlconn.OpDial,
		Instance: instance,
		Hint:     "Connect to this instance with the package " + packages[runs] + ".",
		Err:      fmt.Errorf("%w: the instance runs %s, and the package %s speaks the protocol of another engine", cloudsqlconn.ErrConfig, version, packages[want]),
	}
}
