package pgtunnel

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/pglogin"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

// refused returns what makes an error with a hint of the server's answer to a login with
// cfg, if that is a refusal.
func (t *Tunnel) refused(ctx context.Context, cfg *pgconn.Config, instance string) func(*pgconn.PgError) error {
	l := sqldriver.Login{
		Dialer: t.Dialer, Options: t.Options, Instance: instance, Engine: sqldriver.Postgres, User: cfg.User,
		NoPassword: cfg.Password == "" && cfg.OAuthTokenProvider == nil,
	}
	return func(answer *pgconn.PgError) error {
		switch {
		case answer.Code == pglogin.NoDatabase:
			return l.NoDatabase(answer)
		case answer.Code == pglogin.ProtocolViolation && t.IAM:
			return sqldriver.PoolerError(instance, answer)
		case answer.Code == pglogin.InvalidPassword, t.IAM, engine.ByIAM(cfg.User):
			return l.Refused(ctx, answer)
		}
		return sqldriver.ConnectError(instance, answer)
	}
}
