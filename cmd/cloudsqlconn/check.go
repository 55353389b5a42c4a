package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"sync"

	"github.com/cloudsqlconn/cloudsqlconn"
)

func (p *program) check(fs *flag.FlagSet) func(context.Context, []string) int {
	asJSON := fs.Bool("json", false, "print the report as JSON")
	opts := dialerFlags(p, fs)
	return func(ctx context.Context, args []string) int {
		if len(args) != 1 {
			return p.misused("check", fmt.Errorf("want one instance, got %d", len(args)))
		}
		options, err := opts()
		if err != nil {
			return p.misused("check", err)
		}
		p.warn("check")
		r, err := p.report(ctx, args[0], append(options, p.options...))
		if err != nil {
			return p.explain(err)
		}
		switch {
		case *asJSON:
			enc := json.NewEncoder(p.stdout)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			err = enc.Encode(r)
		case p.terminal:
			_, err = fmt.Fprint(p.stdout, coloured(r.String()))
		default:
			_, err = fmt.Fprint(p.stdout, r)
		}
		if err != nil || !r.OK() {
			return exitFailed
		}
		return exitOK
	}
}

// report checks an instance, and shows on a terminal how long that takes.
func (p *program) report(ctx context.Context, name string, opts []cloudsqlconn.Option) (*cloudsqlconn.Report, error) {
	d, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if p.terminal {
		var shown sync.WaitGroup
		defer shown.Wait()
		showing, done := context.WithCancel(ctx)
		defer done()
		shown.Go(func() { showProgress(showing, p.stderr, "checking "+name) })
	}
	return d.Check(ctx, name)
}
