package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// dialerFlags defines the flags that are options of a Dialer. What it returns
// gives the options, once the flags are parsed, for instances with parameters of
// their own, if there are any.
func dialerFlags(p *program, fs *flag.FlagSet) func(targets ...target) ([]cloudsqlconn.Option, error) {
	opts := []cloudsqlconn.Option{cloudsqlconn.WithUserAgent("cloudsqlconn-cli")}
	add := func(o cloudsqlconn.Option) { opts = append(opts, o) }
	iam := fs.Bool("iam", false, "log in to the database with IAM")
	mode := cloudsqlconn.SQLDataNever
	dns := fs.Bool("dns", false, "accept DNS names as well, and look them up")
	unlisted := fs.Bool("unlisted-domain", false, "with -dns, connect although the DNS name is not in the server's certificate, if another name of the instance is")
	fs.Func("ip-types", "address `types` to try, in this order, such as PRIVATE,PUBLIC (default PUBLIC,PRIVATE,PSC)", func(s string) error {
		types, err := cloudsqlconn.ParseIPTypes(s)
		add(cloudsqlconn.WithIPTypes(types...))
		return err
	})
	fs.Func("credentials", "credentials `file` (default Application Default Credentials)", func(s string) error {
		add(cloudsqlconn.WithCredentialsFile(s))
		return nil
	})
	fs.Func("credentials-json", "the credentials themselves, as `JSON`; better set in the environment than as a flag, which other users of this machine can see", func(s string) error {
		add(cloudsqlconn.WithCredentialsJSON([]byte(s)))
		return nil
	})
	fs.Func("impersonate", "e-mail of a service `account` to impersonate; after it, separated by commas, the delegates, of which the last one is impersonated first", func(s string) error {
		chain := strings.Split(s, ",")
		delegates := chain[1:]
		slices.Reverse(delegates)
		add(cloudsqlconn.WithImpersonation(chain[0], delegates...))
		return nil
	})
	fs.Func("quota-project", "`project` that Admin API calls are counted for", func(s string) error {
		add(cloudsqlconn.WithQuotaProject(s))
		return nil
	})
	fs.Func("universe", "`domain` of the universe of the credentials and the Admin API (default googleapis.com)", func(s string) error {
		add(cloudsqlconn.WithUniverseDomain(s))
		return nil
	})
	fs.Func("proxy", "`URL` of the proxy to connect to instances through, http, https or socks5", func(s string) error {
		add(cloudsqlconn.WithProxy(s))
		return nil
	})
	fs.Func("user-agent", "`name` to add to the User-Agent of Admin API calls", func(s string) error {
		add(cloudsqlconn.WithUserAgent(s))
		return nil
	})
	fs.Func("endpoint", "`URL` of the Admin API (default https://sqladmin.googleapis.com)", func(s string) error {
		add(cloudsqlconn.WithAdminAPIEndpoint(s))
		return nil
	})
	fs.Func("sql-data", "`mode`: whether to connect through SQL Data, which needs no network path: never, prefer (by an address if SQL Data does not serve the instance) or only (default never)", func(s string) error {
		var err error
		mode, err = cloudsqlconn.ParseSQLDataMode(s)
		add(cloudsqlconn.WithSQLData(mode))
		return err
	})
	fs.Func("sql-data-endpoint", "`host` or URL of SQL Data (default that of the Admin API)", func(s string) error {
		add(cloudsqlconn.WithSQLDataEndpoint(s))
		return nil
	})
	token := fs.String("token", "", "access `token` for the Admin API, instead of credentials; other users of this machine can see it")
	login := fs.String("login-token", "", "with -token, the `token` for IAM login; implies -iam (default the one of -token)")
	timeout := fs.Duration("timeout", 30*time.Second, "how long it may take to connect")
	return func(targets ...target) ([]cloudsqlconn.Option, error) {
		given := map[string]string{} // and not only so by default
		fs.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
		noIAM := given["iam"] == "false"
		*iam = *iam || *login != ""
		if err := wayFaults(given, p.variables, mode, targets); err != nil {
			return nil, err
		}
		_, impersonates := given["impersonate"]
		logsIn := *iam || slices.ContainsFunc(targets, func(t target) bool { return t.iam })
		switch {
		case *unlisted && !*dns && !p.variables["unlisted-domain"]:
			return nil, errors.New("-unlisted-domain: want -dns too")
		case *timeout <= 0:
			return nil, fmt.Errorf("-timeout: want a positive duration, got %v", *timeout)
		case *login != "" && noIAM:
			return nil, errors.New("-login-token and -iam=false: want one of them")
		case *login != "" && *token == "":
			return nil, errors.New("-login-token: want -token too, for the Admin API")
		case *token != "" && (*login != "" || logsIn && !impersonates): // impersonation makes login tokens itself
			add(cloudsqlconn.WithIAMAuthNTokenSources(bare(*token), bare(cmp.Or(*login, *token))))
		case *token != "":
			add(cloudsqlconn.WithTokenSource(bare(*token)))
		}
		if *dns {
			add(cloudsqlconn.WithDNSResolver(net.DefaultResolver))
		}
		return append(opts, cloudsqlconn.WithUnlistedDomain(*unlisted && *dns), cloudsqlconn.WithDialTimeout(*timeout), cloudsqlconn.WithIAMAuthN(*iam)), nil
	}
}

// bare is a source of one token.
func bare(token string) oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
}

// wayFaults returns which of the flags that were given would have no effect, since
// they are for another way to an instance than that by which all are reached. Those of
// variables may have one for another command in the same environment.
func wayFaults(given map[string]string, variables map[string]bool, mode cloudsqlconn.SQLDataMode, targets []target) error {
	const withoutEffect = "it has no effect with -sql-data only; want -sql-data prefer, or one of them"
	if len(targets) == 0 {
		targets = []target{{}}
	}
	all := func(of cloudsqlconn.SQLDataMode) bool {
		return !slices.ContainsFunc(targets, func(t target) bool { return cmp.Or(t.sqlData, mode) != of })
	}
	var errs []error
	if _, ok := given["sql-data-endpoint"]; ok && !variables["sql-data-endpoint"] && all(cloudsqlconn.SQLDataNever) {
		errs = append(errs, errors.New("-sql-data-endpoint: want -sql-data prefer or only too"))
	}
	for _, name := range []string{"ip-types", "login-token", "unlisted-domain"} {
		if value, ok := given[name]; ok && !variables[name] && value != "false" && all(cloudsqlconn.SQLDataOnly) {
			errs = append(errs, fmt.Errorf("-%s: %s", name, withoutEffect))
		}
	}
	for _, t := range targets {
		if t.ipTypes && cmp.Or(t.sqlData, mode) == cloudsqlconn.SQLDataOnly {
			errs = append(errs, fmt.Errorf("%s: ip-types: %s", t.name, withoutEffect))
		}
	}
	return errors.Join(errs...)
}
