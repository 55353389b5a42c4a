package pgtunnel

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/pglogin"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// refused returns what makes an error with a hint of the server's answer to a login with
// cfg, if that is a refusal.
func (t *Tunnel) refused(ctx context.Context, cfg *pgconn.Config, instance string) func(error) error {
	l := sqldriver.Login{
		Dialer: t.Dialer, Options: t.Options, Instance: instance, Engine: sqldriver.Postgres, User: cfg.User,
		NoPassword: cfg.Password == "" && cfg.OAuthTokenProvider == nil,
	}
	return func(err error) error {
		answer, _ := errors.AsType[*pgconn.PgError](err)
		switch {
		case answer.Code == pglogin.NoDatabase:
			return l.NoDatabase(err)
		case answer.Code == pglogin.ProtocolViolation && t.IAM:
			return sqldriver.PoolerError(instance, err)
		case answer.Code == pglogin.InvalidPassword, t.IAM, sqldriver.LooksLikeIAM(cfg.User):
			return l.Refused(ctx, err)
		}
		return sqldriver.ConnectError(instance, err)
	}
}
