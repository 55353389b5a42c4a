// Prove connects to instances of yours in Cloud SQL, through the drivers, and
// prints a report that can be pasted into an issue: it names neither projects nor
// instances, users, hosts or addresses. It changes nothing there.
//
//	go run ./e2e/prove -postgres my-project:europe-west1:orders
//	go run ./e2e/prove -mysql my-project:europe-west1:shop -user me@example.com
//	PROVE_PASSWORD=secret go run ./e2e/prove -sqlserver my-project:europe-west1:crm -user sqlserver
//
// Credentials are Application Default Credentials. Without PROVE_PASSWORD the login
// is by IAM, as the account of the credentials, which must be a user of the database;
// SQL Server has no such login. The exit status is 0 if everything that was tried
// works, 1 if not, and 2 if the command line is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/cloudsqlconn/cloudsqlconn"
)

const usage = `Usage of prove:

Connects to instances in Cloud SQL and prints a report without names and addresses. It changes nothing there. The login is
by IAM, as the account of Application Default Credentials, or with the password in the environment variable PROVE_PASSWORD.

    go run ./e2e/prove -postgres my-project:europe-west1:orders
    go run ./e2e/prove -mysql my-project:europe-west1:shop -user me@example.com
    PROVE_PASSWORD=secret go run ./e2e/prove -sqlserver my-project:europe-west1:crm -user sqlserver

`

const thanks = `
Please paste the report into an issue, whether everything works or not; look first for anything that it should not name.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Getenv("PROVE_PASSWORD"), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the command, and returns its exit status.
func run(ctx context.Context, args []string, password string, stdout, stderr io.Writer, dialerOpts ...cloudsqlconn.Option) int {
	tasks, a, opts, err := parse(args, password, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "prove:", err, "(-h for help)")
		return 2
	}
	ok, err := prove(ctx, stdout, tasks, a, opts, dialerOpts...)
	if err != nil {
		fmt.Fprintln(stderr, "prove:", withHint(err))
		return 1
	}
	fmt.Fprint(stderr, thanks)
	if !ok {
		return 1
	}
	return 0
}

// parse reads the command line, and prints help on out.
func parse(args []string, password string, out io.Writer) (tasks []task, a account, opts []cloudsqlconn.DialOption, err error) {
	flags := flag.NewFlagSet("prove", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	instances := map[string]*string{}
	for _, e := range engines {
		instances[e.name] = flags.String(e.name, "", "an `instance` of "+e.title+", such as my-project:europe-west1:my-db")
	}
	flags.StringVar(&a.user, "user", "", "database `user`; with IAM login an e-mail address (default: the service account of the credentials; those of gcloud auth application-default login name nobody)")
	flags.StringVar(&a.database, "db", "", "`database` (default: one that every instance has)")
	types := flags.String("ip-types", "", "`types` of addresses, such as PRIVATE,PUBLIC (default: any that the instance has)")
	flags.Usage = func() {}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(out)
			fmt.Fprint(out, usage)
			flags.PrintDefaults()
		}
		return nil, a, nil, err
	}
	a.password = password
	for _, e := range engines {
		name := *instances[e.name]
		if name == "" {
			continue
		}
		if _, err := cloudsqlconn.ParseName(name); err != nil {
			return nil, a, nil, err
		}
		tasks = append(tasks, task{e, name})
	}
	switch {
	case len(tasks) == 0 || flags.NArg() > 0:
		return nil, a, nil, errors.New("want at least one of -postgres, -mysql and -sqlserver, and no other arguments")
	case password != "" && a.user == "":
		return nil, a, nil, errors.New("PROVE_PASSWORD is set: want -user, too")
	case password == "" && *instances["sqlserver"] != "":
		return nil, a, nil, errors.New("SQL Server has no IAM login: want -user, and its password in PROVE_PASSWORD")
	}
	if *types != "" {
		list, err := cloudsqlconn.ParseIPTypes(*types)
		if err != nil {
			return nil, a, nil, err
		}
		opts = append(opts, cloudsqlconn.WithIPTypes(list...))
	}
	return tasks, a, opts, nil
}

// withHint is the error, and behind it what to do about it.
func withHint(err error) error {
	if hint := cloudsqlconn.Hint(err); hint != "" {
		return fmt.Errorf("%w. %s", err, hint)
	}
	return err
}
