package postgres

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// connector adds a hint to the error of a refused IAM login.
type connector struct {
	driver.Connector
	dialer         *cloudsqlconn.Dialer
	instance, user string
}

// newConnector returns a connector for cfg, which has been configured.
func newConnector(d *cloudsqlconn.Dialer, cfg *pgx.ConnConfig, iam bool) driver.Connector {
	c := stdlib.GetConnector(*cfg,
		stdlib.OptionBeforeConnect(func(ctx context.Context, cfg *pgx.ConnConfig) error { return completeUser(ctx, d, cfg) }),
		stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
			return shouldPing(p.Conn, p.IdleDuration)
		}))
	if !iam {
		return c
	}
	return connector{Connector: c, dialer: d, instance: cfg.Host, user: cfg.User}
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && (refused.Code == "28P01" || refused.Code == "28000") { // invalid_password, invalid_authorization_specification
		return nil, sqldriver.LoginError(ctx, c.dialer, c.instance, sqldriver.Postgres, c.user, err)
	}
	return conn, err
}
