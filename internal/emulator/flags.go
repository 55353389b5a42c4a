package emulator

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// defaultInstance is what an instance is called if nobody says.
const defaultInstance = "my-project:europe-west1:my-db"

// errVersion says that the command line asks for the program's version only.
var errVersion = errors.New("asks for the version")

// parseFlags returns the configuration that the command line describes. Flags
// override the file.
func parseFlags(args []string, stderr io.Writer) (cfg *config, verbose bool, err error) {
	set := flag.NewFlagSet("cloudsql-emulator", flag.ContinueOnError)
	set.SetOutput(io.Discard) // it would print the usage after each mistake
	var given config
	var one instance
	var rules []cloudsqltest.Rule
	file := set.String("config", "", "YAML `file`; example.yaml shows everything that it can contain")
	set.StringVar(&one.Name, "instance", "", "`name` of one instance, project:region:instance (default "+defaultInstance+")")
	set.StringVar(&one.Engine, "engine", "", "`name` of its engine: postgres, mysql or sqlserver (default postgres)")
	set.StringVar(&one.Backend, "backend", "", "`where` its database is: host:port, the path of a unix socket, echo, auto, which starts a private PostgreSQL, MariaDB or MySQL, or embedded, a database in this process, in a build that has it (default auto)")
	set.StringVar(&given.Listen, "listen", "", "`address` of the Admin API (default "+defaultListen+")")
	set.StringVar(&given.Control, "control", "", "`address` of the status page and the control endpoint, or none (default "+defaultControl+")")
	set.StringVar(&given.SQLData, "sql-data", "", "`address` of SQL Data, with TLS, or none; with http:// in front, in clear text, which Google's clients do not speak (default none)")
	set.StringVar(&given.SQLDataCA, "sql-data-ca", "", "`file` to write SQL Data's CA certificate to (default a temporary one, which is printed)")
	set.BoolVar(&given.AllowRemote, "allow-remote", false, "allow addresses other than loopback: anybody who can reach them is let in")
	set.StringVar(&given.Token, "token", "", "the `token` that the Admin API accepts (default random)")
	set.StringVar(&given.LoginToken, "login-token", "", "the `token` for IAM login (default random)")
	set.StringVar(&given.Principal, "principal", "", "`e-mail` address of the IAM principal of both tokens: IAM logins as another user are refused (default app@PROJECT.iam.gserviceaccount.com, which counts for the backends auto and embedded only)")
	set.BoolVar(&given.AnyIAMUser, "any-iam-user", false, "let IAM logins in as any user")
	quota := set.Int("quota", 0, "Admin API `requests` a minute that a user has; 0: any number (default 180)")
	set.Func("fault", "what goes wrong, as `key=value,...`: "+faultUsage+"; can be repeated", func(text string) error {
		r, err := cloudsqltest.ParseRule(text)
		rules = append(rules, r)
		return err
	})
	told := set.Bool("version", false, "print what this program was built from, and end")
	set.BoolVar(&verbose, "v", false, "also log the progress of connections")
	err = set.Parse(args)
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		set.SetOutput(stderr)
		fmt.Fprintln(stderr, "usage: cloudsql-emulator [flags]\n\nEmulates Cloud SQL: the Admin API, and instances in front of databases.")
		set.PrintDefaults()
		return nil, false, err
	case err != nil:
		return nil, false, fmt.Errorf("%w\nsee -h", err)
	case *told:
		return nil, false, errVersion
	}
	cfg = &config{}
	if *file != "" {
		if cfg, err = loadConfig(*file); err != nil {
			return nil, false, err
		}
	}
	set.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "listen":
			cfg.Listen = given.Listen
		case "control":
			cfg.Control = given.Control
		case "sql-data":
			cfg.SQLData = given.SQLData
		case "sql-data-ca":
			cfg.SQLDataCA = given.SQLDataCA
		case "allow-remote":
			cfg.AllowRemote = given.AllowRemote
		case "token":
			cfg.Token = given.Token
		case "login-token":
			cfg.LoginToken = given.LoginToken
		case "principal":
			cfg.Principal = given.Principal
		case "any-iam-user":
			cfg.AnyIAMUser = given.AnyIAMUser
		case "quota":
			cfg.Quota = quota
		}
	})
	cfg.Faults = append(cfg.Faults, rules...)
	byFlags := one.Name != "" || one.Engine != "" || one.Backend != ""
	switch {
	case byFlags && *file != "":
		return nil, false, errors.New("-instance, -engine and -backend are for one instance without a file; with -config, put it into the file")
	case *file == "":
		if one.Backend == "" && one.Engine == "sqlserver" {
			return nil, false, errors.New("-engine sqlserver needs a -backend: there is no SQL Server to start")
		}
		cfg.Instances = []*instance{&one}
	}
	if problems := cfg.complete(); len(problems) > 0 {
		return nil, false, problems[0].err
	}
	return cfg, verbose, nil
}

// faultUsage is the short form of a rule's documentation.
var faultUsage = "instance=project:region:instance, call=" + strings.Join([]string{
	cloudsqltest.ConnectSettings, cloudsqltest.GenerateEphemeralCert, cloudsqltest.ResolveConnectSettings, cloudsqltest.Connect, cloudsqltest.StreamSQLData}, "|") +
	", probability=0.2, times=3, delay=2s, status=503, body=text, header=Name: value, kind=" + strings.Join(cloudsqltest.RuleKinds(), "|")

func newLogger(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
