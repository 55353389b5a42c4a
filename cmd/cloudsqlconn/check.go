package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
)

func (p *program) check(fs *flag.FlagSet) func(context.Context, []string) int {
	asJSON := fs.Bool("json", false, "print the report as JSON")
	opts := dialerFlags(fs)
	return func(ctx context.Context, args []string) int {
		if len(args) != 1 {
			fmt.Fprintf(p.stderr, "cloudsqlconn check: want one instance, after the flags; got %d arguments\n", len(args))
			return exitUsage
		}
		r, err := report(ctx, args[0], append(opts(), p.options...))
		if err != nil {
			fmt.Fprintln(p.stderr, err)
			if errors.Is(err, cloudsqlconn.ErrConfig) {
				return exitUsage
			}
			return exitFailed
		}
		if *asJSON {
			enc := json.NewEncoder(p.stdout)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			err = enc.Encode(r)
		} else {
			_, err = fmt.Fprint(p.stdout, r)
		}
		if err != nil || !r.OK() {
			return exitFailed
		}
		return exitOK
	}
}

// report checks an instance.
func report(ctx context.Context, name string, opts []cloudsqlconn.Option) (*cloudsqlconn.Report, error) {
	d, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Check(ctx, name)
}

// dialerFlags defines the flags that are options of a Dialer. What it returns
// gives the options, once the flags are parsed.
func dialerFlags(fs *flag.FlagSet) func() []cloudsqlconn.Option {
	opts := []cloudsqlconn.Option{cloudsqlconn.WithUserAgent("cloudsqlconn-cli")}
	add := func(o cloudsqlconn.Option) { opts = append(opts, o) }
	iam := fs.Bool("iam", false, "log in with IAM: ask for a certificate with a login token in it")
	dns := fs.Bool("dns", false, "take DNS names too, and look them up")
	unlisted := fs.Bool("unlisted-domain", false, "with -dns, connect although the DNS name is not in the server's certificate, if another name of the instance is")
	fs.Func("ip-types", "`types` of address to try, in this order, such as PRIVATE,PUBLIC (default PUBLIC,PRIVATE,PSC)", func(s string) error {
		types, err := cloudsqlconn.ParseIPTypes(s)
		add(cloudsqlconn.WithIPTypes(types...))
		return err
	})
	fs.Func("credentials", "credentials `file` (default Application Default Credentials)", func(s string) error {
		add(cloudsqlconn.WithCredentialsFile(s))
		return nil
	})
	fs.Func("impersonate", "e-mail of a service `account` to impersonate", func(s string) error {
		add(cloudsqlconn.WithImpersonation(s))
		return nil
	})
	fs.Func("quota-project", "`project` that calls of the Admin API count for", func(s string) error {
		add(cloudsqlconn.WithQuotaProject(s))
		return nil
	})
	fs.Func("endpoint", "`URL` of the Admin API (default https://sqladmin.googleapis.com)", func(s string) error {
		add(cloudsqlconn.WithAdminAPIEndpoint(s))
		return nil
	})
	fs.Func("sql-data", "`mode`: whether to go by SQL Data, without a network path: never, prefer (by an address where that does not serve the instance) or only (default never)", func(s string) error {
		mode, err := cloudsqlconn.ParseSQLDataMode(s)
		add(cloudsqlconn.WithSQLData(mode))
		return err
	})
	fs.Func("sql-data-endpoint", "`host` or URL of SQL Data (default that of the Admin API)", func(s string) error {
		add(cloudsqlconn.WithSQLDataEndpoint(s))
		return nil
	})
	token := fs.String("token", "", "access `token` for the Admin API, in place of credentials; others on this machine can see it")
	login := fs.String("login-token", "", "with -token, the `token` for IAM login; implies -iam (default that of -token)")
	timeout := fs.Duration("timeout", 30*time.Second, "how long it may take to connect")
	return func() []cloudsqlconn.Option {
		*iam = *iam || *login != ""
		switch {
		case *iam && (*token != "" || *login != ""):
			add(cloudsqlconn.WithIAMAuthNTokenSources(bare(*token), bare(cmp.Or(*login, *token))))
		case *token != "":
			add(cloudsqlconn.WithTokenSource(bare(*token)))
		}
		if *dns {
			add(cloudsqlconn.WithDNSResolver(net.DefaultResolver))
		}
		return append(opts, cloudsqlconn.WithUnlistedDomain(*unlisted), cloudsqlconn.WithDialTimeout(*timeout), cloudsqlconn.WithDialIAMAuthN(*iam))
	}
}

// bare is a source of one token.
func bare(token string) oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
}
