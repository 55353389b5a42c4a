package postgres

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// connector adds a hint to the error of a refused IAM login.
type connector struct {
	driver.Connector
	login login
	user  string
}

// newConnector returns a connector for cfg, which has been configured.
func newConnector(cfg *pgx.ConnConfig, l login) driver.Connector {
	c := stdlib.GetConnector(*cfg,
		stdlib.OptionBeforeConnect(l.complete),
		stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
			return shouldPing(p.Conn, p.IdleDuration)
		}))
	if !l.iam {
		return c
	}
	return connector{Connector: c, login: l, user: cfg.User}
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && (refused.Code == "28P01" || refused.Code == "28000") { // invalid_password, invalid_authorization_specification
		return nil, sqldriver.LoginError(ctx, c.login.dialer, c.login.instance, sqldriver.Postgres, c.user, c.login.opts, err)
	}
	return conn, err
}
