package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/programversion"
)

// account is who logs in, and where to.
type account struct{ user, password, database string }

// login is how it is logged in.
func (a account) login() string {
	if a.password == "" {
		return "IAM login"
	}
	return "login with a password"
}

// task is an instance to connect to.
type task struct {
	engine engine
	name   string
}

// prove writes the report, and says whether everything works. The error is about the
// Dialer.
func prove(ctx context.Context, out io.Writer, tasks []task, a account, opts []cloudsqlconn.DialOption, dialerOpts ...cloudsqlconn.Option) (ok bool, err error) {
	if a.password == "" {
		opts = append(opts, cloudsqlconn.WithIAMAuthN(true))
	}
	d, err := cloudsqlconn.NewDialer(ctx, dialerOpts...)
	if err != nil {
		return false, err
	}
	defer d.Close()
	ok = true
	for i, t := range tasks {
		report, err := d.Check(ctx, t.name, opts...)
		if err != nil {
			return false, err
		}
		if i == 0 {
			fmt.Fprintf(out, "cloudsqlconn %s; %s; %s/%s; %s\n", report.Version, programversion.Of("prove"), runtime.GOOS, runtime.GOARCH, report.Time.UTC().Format(time.DateOnly))
		}
		h := newHider(t.name, a)
		if who, err := d.IAMPrincipal(ctx); err == nil {
			h.addUser(who)
		}
		fmt.Fprintf(out, "\n%s, %s\n\n", t.engine.title, a.login())
		table := &table{out: out, hider: h}
		table.begin()
		table.check(report)
		t.drive(ctx, table, d, a, opts)
		ok = table.end() && ok
	}
	return ok, nil
}

// drive does the steps of the engine, each with a pool of its own. What needs a login
// is not tried when the first has failed.
func (t task) drive(ctx context.Context, to *table, d *cloudsqlconn.Dialer, a account, opts []cloudsqlconn.DialOption) {
	for i, s := range t.engine.steps {
		if i > 0 && !to.login {
			to.line(s.name, cloudsqlconn.Skipped, 0, "no login")
			continue
		}
		start := time.Now()
		found, err := t.try(ctx, d, a, opts, s.do)
		took := time.Since(start)
		if err != nil {
			to.line(s.name, cloudsqlconn.Failed, took, to.hider.hide(withHint(err).Error()))
			continue
		}
		to.line(s.name, cloudsqlconn.Passed, took, to.hider.hide(found))
		to.login = true
	}
}

// try does a step.
func (t task) try(ctx context.Context, d *cloudsqlconn.Dialer, a account, opts []cloudsqlconn.DialOption, do func(context.Context, *sql.DB) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	connector, err := t.engine.connect(d, t.name, a, opts)
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector)
	found, err := do(ctx, db)
	return found, errors.Join(err, db.Close())
}

// table is the part of the report about one instance.
type table struct {
	out          io.Writer
	hider        *hider
	steps, fails int
	login        bool // whether one has succeeded
}

func (t *table) begin() {
	fmt.Fprint(t.out, "| step | result | ms | found |\n|---|---|--:|---|\n")
}

// check writes what Dialer.Check has found.
func (t *table) check(report *cloudsqlconn.Report) {
	for _, s := range report.Steps {
		t.hider.learn(s)
	}
	for _, s := range report.Steps {
		found := s.Detail
		if s.Err != nil {
			found = strings.TrimSpace(s.Err.Error() + ". " + s.Hint)
		}
		t.line(string(s.Hop), s.Result, s.Duration, t.hider.hide(found))
	}
}

func (t *table) line(step string, result cloudsqlconn.Result, took time.Duration, found string) {
	fmt.Fprintf(t.out, "| %s | %s | %d | %s |\n", step, result, took.Milliseconds(), strings.TrimSpace(found))
	t.steps++
	if result == cloudsqlconn.Failed {
		t.fails++
	}
}

// end sums up, and says whether everything works.
func (t *table) end() bool {
	switch {
	case t.fails == 0:
		fmt.Fprintln(t.out, "\nEverything works.")
	case t.login:
		fmt.Fprintf(t.out, "\n%d of %d steps failed, but logins work.\n", t.fails, t.steps)
	default:
		fmt.Fprintf(t.out, "\n%d of %d steps failed, and nobody could log in.\n", t.fails, t.steps)
	}
	return t.fails == 0
}
