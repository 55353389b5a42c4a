package pgconfig

import (
	"fmt"
	"os/user"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// TakeHosts checks the hosts of cfg, for d, and leaves each once and without TLS:
// sslmode=prefer makes two of one.
func TakeHosts(d *cloudsqlconn.Dialer, cfg *pgx.ConnConfig) (instances []string, err error) {
	for _, f := range append([]*pgconn.FallbackConfig{{Host: cfg.Host}}, cfg.Fallbacks...) {
		if err := sqldriver.CheckInstance(d, f.Host); err != nil {
			if ofPgx := strings.HasPrefix(f.Host, "/") || f.Host == "localhost"; ofPgx && !names("host", cfg.ConnString()) {
				return nil, fmt.Errorf("%w: no instance is named; give it as host=project:region:instance in the data source name, or in PGHOST", cloudsqlconn.ErrBadName)
			}
			return nil, fmt.Errorf("the host: %w; give it as host=project:region:instance in the data source name, or in PGHOST", err)
		}
		if !slices.Contains(instances, f.Host) {
			instances = append(instances, f.Host)
		}
	}
	cfg.Fallbacks = nil
	for _, instance := range instances[1:] {
		cfg.Fallbacks = append(cfg.Fallbacks, &pgconn.FallbackConfig{Host: instance, Port: port})
	}
	cfg.Port, cfg.TLSConfig = port, nil
	return instances, nil
}

const port = 3307 // where every instance listens; only pgx's errors show it

// ofLibpq are parameters of direct connections that pgx does not know, and would
// send to the server, which does not either.
var ofLibpq = []string{
	"gssencmode", "gssdelegation", "gsslib", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
	"requirepeer", "requiressl", "sslcompression", "sslcrl", "sslcrldir", "sslkeylogfile", "ssl_max_protocol_version", "ssl_min_protocol_version", "tcp_user_timeout",
}

// TakeSettings removes what is for direct connections only: see the table in the
// documentation of driver/postgres.
func TakeSettings(cfg *pgx.ConnConfig, iam bool) error {
	for _, name := range ofLibpq {
		delete(cfg.RuntimeParams, name)
	}
	cfg.SSLNegotiation, cfg.SSLCertMode, cfg.ChannelBinding = "", "", "prefer"
	switch {
	case iam:
		cfg.RequireAuth = ""
	case !possible(cfg.RequireAuth, cfg.OAuthTokenProvider != nil):
		return fmt.Errorf("%w: require_auth=%s: a login of Cloud SQL is by none of these methods; leave it out, or have scram-sha-256 in it", cloudsqlconn.ErrConfig, cfg.RequireAuth)
	}
	return nil
}

// possible reports whether require_auth leaves a method that a login with a
// password, or with a token of the program's, can be by.
func possible(requireAuth string, oauth bool) bool {
	methods := []string{"password", "md5", "scram-sha-256", "none"}
	if oauth {
		methods = append(methods, "oauth")
	}
	list := strings.Split(requireAuth, ",")
	return requireAuth == "" || slices.ContainsFunc(methods, func(method string) bool {
		if strings.HasPrefix(list[0], "!") {
			return !slices.Contains(list, "!"+method)
		}
		return slices.Contains(list, method)
	})
}

// TakeBalancing removes load_balance_hosts, and reports whether it is random.
func TakeBalancing(cfg *pgx.ConnConfig) (random bool, err error) {
	value, ok := cfg.RuntimeParams["load_balance_hosts"]
	delete(cfg.RuntimeParams, "load_balance_hosts")
	switch {
	case !ok || value == "disable":
		return false, nil
	case value == "random":
		return true, nil
	}
	return false, fmt.Errorf("%w: load_balance_hosts is %.40q; want random or disable", cloudsqlconn.ErrConfig, value)
}

// IAMUser returns the database user of an IAM login, "" if none is named: pgx
// has put in the operating system's then, who is nobody to IAM.
func IAMUser(cfg *pgx.ConnConfig) string {
	if !names("user", cfg.ConnString()) {
		if me, err := user.Current(); err == nil && cfg.User == me.Username {
			return ""
		}
	}
	return cloudsqlconn.FormatIAMUser(sqldriver.Postgres, cfg.User)
}
