package cloudsqltest

import (
	"io"
	"slices"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/login"
	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

// protocols are those in which logins are looked at.
var protocols = map[engine.Engine]login.Engine{engine.Postgres: login.PostgreSQL, engine.MySQL: login.MySQL}

// checkLogin returns what looks at the login of a connection, or nil unless the
// client's token has a principal that counts, or the instance a pooler, and the
// engine has IAM login.
func (p *EmulatedInstance) checkLogin(l *link, token string, in io.Reader, out io.Writer) *login.Check {
	principal := p.server.Principals[token]
	if p.cfg.AnyIAMUser {
		principal = ""
	}
	e := engine.Of(p.cfg.DatabaseVersion)
	pooler := p.cfg.Pooler
	if e != engine.Postgres {
		pooler = nil
	}
	protocol, ok := protocols[e]
	if !ok || token == "" || principal == "" && pooler == nil {
		return nil
	}
	cfg := login.Config{
		Engine: protocol,
		In:     in,
		Out:    out,
		Kind:   "user",
		User:   cloudsqlconn.FormatIAMUser(p.cfg.DatabaseVersion, principal),
		Anyone: principal == "",
		Denied: func(user string) {
			p.count(&p.counts.Denied)
			p.logInfo("login denied", "client", l.raw.RemoteAddr(), "user", user, "principal", principal)
		},
		Failed: func(err error) { p.warn(l, "login refused", err) },
		End:    l.cancel, // or the backend could keep the connection
	}
	if strings.HasSuffix(principal, ".gserviceaccount.com") {
		cfg.Kind = "service account"
	}
	if !cfg.Anyone && p.cfg.IAMUsers != nil && !slices.Contains(p.cfg.IAMUsers, principal) {
		cfg.User = ""
	}
	if pooler != nil {
		cfg.Ask = func(user, database string) (refusal []byte, answered func()) {
			expired, keep := p.pooled(user, database, token)
			if !expired {
				return nil, keep
			}
			p.logInfo("login refused: the pooler's token has expired", "client", l.raw.RemoteAddr(), "user", user, "database", database)
			return poolerRefusal(user), keep
		}
	}
	return login.NewCheck(cfg)
}
