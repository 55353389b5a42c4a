package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"

	"github.com/cloudsqlconn/cloudsqlconn"
)

func (p *program) check(fs *flag.FlagSet) func(context.Context, []string) int {
	asJSON := fs.Bool("json", false, "print the report as JSON")
	opts := dialerFlags(fs)
	return func(ctx context.Context, args []string) int {
		if len(args) != 1 {
			return p.misused("check", fmt.Errorf("want one instance, after the flags; got %d arguments", len(args)))
		}
		options, err := opts()
		if err != nil {
			return p.misused("check", err)
		}
		r, err := report(ctx, args[0], append(options, p.options...))
		if err != nil {
			return p.explain(err)
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
