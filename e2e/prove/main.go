// Prove connects to instances of yours in Cloud SQL, through the drivers, and
// prints a report that can be pasted into an issue: it names neither projects nor
// instances, users, hosts or addresses. It changes nothing there.
//
//	go run ./e2e/prove -postgres my-project:europe-west1:orders
//	go run ./e2e/prove -mysql my-project:europe-west1:shop -user me@example.com
//	PROVE_PASSWORD=secret go run ./e2e/prove -sqlserver my-project:europe-west1:crm -user sqlserver
//
// Credentials are Application Default Credentials. Without PROVE_PASSWORD the login
// is by IAM, as the account of the credentials, which must be a user of the database.
// The exit status is 0 if everything that was tried works.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

const usage = `Usage of prove:

Connects to instances in Cloud SQL and prints a report without names and addresses. It changes nothing there. The login is
by IAM, as the account of Application Default Credentials, or with the password in the environment variable PROVE_PASSWORD.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	flags := flag.NewFlagSet("prove", flag.ExitOnError)
	var a account
	instances := map[string]*string{}
	for _, e := range engines {
		instances[e.name] = flags.String(e.name, "", "an instance of "+e.title+", `project:region:instance`")
	}
	flags.StringVar(&a.user, "user", "", "database `user`; with IAM login an e-mail address (default: whom the credentials name)")
	flags.StringVar(&a.database, "db", "", "`database` (default: one that every instance has)")
	types := flags.String("ip-types", "", "`types` of addresses, such as PRIVATE,PUBLIC (default: any that the instance has)")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	_ = flags.Parse(os.Args[1:])
	a.password = os.Getenv("PROVE_PASSWORD")
	var tasks []task
	for _, e := range engines {
		if name := *instances[e.name]; name != "" {
			tasks = append(tasks, task{e, name})
		}
	}
	if len(tasks) == 0 || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "prove: want at least one of -postgres, -mysql and -sqlserver, and no other arguments")
		flags.Usage()
		os.Exit(2)
	}
	var opts []cloudsqlconn.DialOption
	if *types != "" {
		list, err := cloudsqlconn.ParseIPTypes(*types)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		opts = append(opts, cloudsqlconn.WithIPTypes(list...))
	}
	ok, err := prove(ctx, os.Stdout, tasks, a, opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		fmt.Fprintln(os.Stderr, cloudsqlconn.Hint(err))
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// account is who logs in, and where to.
type account struct{ user, password, database string }

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
		h := newHider(t.name, a)
		if i == 0 {
			fmt.Fprintf(out, "cloudsqlconn %s, %s, %s/%s, %s\n", report.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, report.Time.UTC().Format(time.DateOnly))
		}
		fmt.Fprintf(out, "\n%s, %s\n\n| step | result | ms | found |\n|---|---|--:|---|\n", t.engine.title, login(a))
		line := func(step string, result cloudsqlconn.Result, took time.Duration, found string) {
			fmt.Fprintf(out, "| %s | %s | %d | %s |\n", step, result, took.Milliseconds(), h.hide(found))
			ok = ok && result != cloudsqlconn.Failed
		}
		for _, s := range report.Steps {
			found := s.Detail
			if s.Err != nil {
				found = strings.TrimSpace(s.Err.Error() + " " + s.Hint)
			}
			if h.learn(s); s.Hop == cloudsqlconn.HopTCP {
				found = strings.TrimSpace(found)
			}
			line(string(s.Hop), s.Result, s.Duration, found)
		}
		for _, s := range t.engine.steps {
			start := time.Now()
			found, err := t.try(ctx, d, a, opts, s.do)
			result := cloudsqlconn.Passed
			if err != nil {
				result, found = cloudsqlconn.Failed, strings.TrimSpace(err.Error()+" "+cloudsqlconn.Hint(err))
			}
			line(s.name, result, time.Since(start), found)
		}
	}
	return ok, nil
}

// login is how it is logged in.
func login(a account) string {
	if a.password == "" {
		return "IAM login"
	}
	return "login with a password"
}

// try does a step with a pool of its own.
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
