package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// Where the emulator listens, and what it keeps, unless told otherwise.
const (
	defaultListen      = "127.0.0.1:13307"
	defaultControl     = "127.0.0.1:13308"
	defaultQuota       = 180 // Cloud SQL's
	defaultMaxRequests = 1000
)

// none turns the control endpoint off, and SQL Data.
const none = "none"

// config is the file. example.yaml describes it.
type config struct {
	Listen      string              `yaml:"listen"`
	Control     string              `yaml:"control"`
	SQLData     string              `yaml:"sqlData"`
	SQLDataCA   string              `yaml:"sqlDataCA"`
	AllowRemote bool                `yaml:"allowRemote"`
	Token       string              `yaml:"token"`
	LoginToken  string              `yaml:"loginToken"`
	Principal   string              `yaml:"principal"`
	Principals  []principal         `yaml:"principals"`
	AnyIAMUser  bool                `yaml:"anyIAMUser"`
	Quota       *int                `yaml:"quota"`
	MaxRequests int                 `yaml:"maxRequests"`
	AllowAnyKey bool                `yaml:"allowAnyKey"`
	Instances   []*instance         `yaml:"instances"`
	Faults      []cloudsqltest.Rule `yaml:"faults"`
}

// principal is an IAM principal with a token of its own.
type principal struct {
	Email string `yaml:"email"`
	Token string `yaml:"token"`
}

// instance is an instance as people describe it.
type instance struct {
	Name              string        `yaml:"name"`
	Engine            string        `yaml:"engine"`
	Version           string        `yaml:"version"`
	Backend           string        `yaml:"backend"`
	IAMBackend        string        `yaml:"iamBackend"`
	Addresses         *addresses    `yaml:"addresses"`
	Nodes             int           `yaml:"nodes"`
	CAMode            string        `yaml:"caMode"`
	DNSNames          []string      `yaml:"dnsNames"`
	IAMUsers          []string      `yaml:"iamUsers"`
	CertificateLife   time.Duration `yaml:"certificateLife"`
	ClockSkew         time.Duration `yaml:"clockSkew"`
	ServerCertificate string        `yaml:"serverCertificate"`
	NoSessionTickets  bool          `yaml:"noSessionTickets"`
	MetadataExchange  string        `yaml:"metadataExchange"`
	SQLData           *bool         `yaml:"sqlData"`
	Behavior          string        `yaml:"behavior"`
}

// addresses are those in the metadata: an IP address, auto, or nothing.
type addresses struct {
	Public  string `yaml:"public"`
	Private string `yaml:"private"`
	PSC     string `yaml:"psc"`
}

// auto is an address, or a database, of the emulator's choice.
const auto = "auto"

// Backends that are no address, beside auto.
const (
	echo     = "echo"     // sends back what it gets
	embedded = "embedded" // a database in this process
)

// self is the principal whose credentials the emulator gives out: an account of the
// first instance's project if nobody has said.
func (c *config) self() string {
	switch {
	case c.Principal != "":
		return c.Principal
	case len(c.Principals) > 0:
		return c.Principals[0].Email
	}
	first := slices.MinFunc(c.Instances, func(a, b *instance) int { return strings.Compare(a.Name, b.Name) })
	if len(first.IAMUsers) > 0 {
		return first.IAMUsers[0]
	}
	name, _ := cloudsqlconn.ParseName(first.Name) // complete has looked at it
	project := name.Project()
	return "app@" + project[strings.LastIndex(project, ":")+1:] + ".iam.gserviceaccount.com"
}

// anyIAMUser reports whether an instance lets IAM logins in as any user. Who has a
// database of their own, and names no principal, has users that the emulator does
// not know.
func (c *config) anyIAMUser(i *instance) bool {
	ours := i.Backend == auto || i.Backend == embedded
	return c.AnyIAMUser || !ours && c.Principal == "" && len(c.Principals) == 0
}

// problem is something wrong with a configuration, and where.
type problem struct {
	path []any // keys and indices
	err  error
}

// loadConfig reads a file. The error names the line.
func loadConfig(file string) (*config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cfg := &config{}
	if err := decode(text, cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	// What is wrong beyond that is found in a copy, as flags can still change
	// things.
	trial := *cfg
	trial.Instances = nil
	for _, i := range cfg.Instances {
		if i != nil {
			one := *i
			i = &one
		}
		trial.Instances = append(trial.Instances, i)
	}
	var errs []error
	var root yaml.Node
	_ = yaml.Unmarshal(text, &root) // decode has read it
	for _, p := range trial.complete() {
		errs = append(errs, fmt.Errorf("%s: line %d: %w", file, line(&root, p.path), p.err))
	}
	return cfg, errors.Join(errs...)
}

// complete fills in defaults and returns what is wrong.
func (c *config) complete() (problems []problem) {
	add := func(err error, path ...any) {
		if err != nil {
			problems = append(problems, problem{path, err})
		}
	}
	c.Listen, c.Control = cmp.Or(c.Listen, defaultListen), cmp.Or(c.Control, defaultControl)
	c.SQLData = cmp.Or(c.SQLData, none)
	c.MaxRequests = cmp.Or(c.MaxRequests, defaultMaxRequests)
	if c.Quota == nil {
		quota := defaultQuota
		c.Quota = &quota
	}
	if *c.Quota < 0 {
		add(errors.New("quota: want 0 or more"), "quota")
	}
	if c.MaxRequests < 0 {
		add(errors.New("maxRequests: want 1 or more"), "maxRequests")
	}
	if c.Token != "" && c.Token == c.LoginToken {
		add(errors.New("token and loginToken are the same"), "loginToken")
	}
	for i, p := range c.Principals {
		if p.Email == "" {
			add(errors.New("a principal needs an email"), "principals", i)
		}
	}
	for i, r := range c.Faults {
		add(r.Validate(), "faults", i)
	}
	if len(c.Instances) == 0 {
		add(errors.New("instances: want one or more"), "instances")
	}
	seen := map[string]bool{}
	for i, one := range c.Instances {
		if one == nil {
			add(errors.New("an instance is empty"), "instances", i)
			continue
		}
		if key, err := one.complete(); err != nil {
			add(fmt.Errorf("%s: %w", key, err), "instances", i, key)
		}
		if seen[one.Name] {
			add(fmt.Errorf("name: %s is there twice", one.Name), "instances", i, "name")
		}
		seen[one.Name] = true
	}
	return problems
}

var engines = map[string]struct{ prefix, version, port string }{
	"postgres":  {"POSTGRES_", "POSTGRES_16", "5432"},
	"mysql":     {"MYSQL_", "MYSQL_8_0", "3306"},
	"sqlserver": {"SQLSERVER_", "SQLSERVER_2022_STANDARD", "1433"},
}

// complete fills in defaults, but for the version of a database that is yet to
// be started. It returns what is wrong, and the key of that.
func (i *instance) complete() (key string, wrong error) {
	fail := func(key, format string, args ...any) (string, error) {
		return key, fmt.Errorf(format, args...)
	}
	i.Name, i.Engine, i.Backend = cmp.Or(i.Name, defaultInstance), cmp.Or(i.Engine, "postgres"), cmp.Or(i.Backend, auto)
	if _, err := cloudsqlconn.ParseName(i.Name); err != nil {
		return fail("name", "%w", err)
	}
	engine, ok := engines[i.Engine]
	if !ok {
		return fail("engine", "unknown engine %q; want postgres, mysql or sqlserver", i.Engine)
	}
	if i.SQLData == nil {
		served := i.Engine == "postgres"
		i.SQLData = &served
	}
	if i.Version != "" && !strings.HasPrefix(i.Version, engine.prefix) {
		return fail("version", "%q is none of %s; want %s, for example", i.Version, i.Engine, engine.version)
	}
	if i.Backend == auto && i.Engine == "sqlserver" {
		return fail("backend", "there is no SQL Server to start; want host:port or echo")
	}
	if i.Backend == embedded && i.Engine == "sqlserver" {
		return fail("backend", "there is no SQL Server to embed; want host:port or echo")
	}
	own := i.Backend != auto && i.Backend != echo && i.Backend != embedded
	if own && !isAddress(i.Backend) {
		return fail("backend", "want host:port, the path of a unix socket, echo, auto or embedded, got %q", i.Backend)
	}
	if i.IAMBackend != "" && !own {
		return fail("iamBackend", "is for a backend of your own")
	}
	if i.IAMBackend != "" && !isAddress(i.IAMBackend) {
		return fail("iamBackend", "want host:port or the path of a unix socket, got %q", i.IAMBackend)
	}
	if i.Addresses == nil {
		i.Addresses = &addresses{Public: auto, Private: auto}
	}
	if i.Addresses.Public == "" && i.Addresses.Private == "" {
		return fail("addresses", "want public, private or both; the psc name must resolve to one of them")
	}
	for _, a := range []string{i.Addresses.Public, i.Addresses.Private} {
		if ip, err := netip.ParseAddr(a); a != "" && a != auto && (err != nil || !ip.Is4()) {
			return fail("addresses", "want an IPv4 address or auto, got %q", a)
		}
	}
	if i.Nodes < 0 || i.Nodes > 20 {
		return fail("nodes", "want 0 to 20")
	}
	modes := []string{string(cloudsqltest.LegacyCA), string(cloudsqltest.GoogleCAS), string(cloudsqltest.CustomerCAS), string(cloudsqltest.UnspecifiedCA)}
	if i.CAMode = cmp.Or(i.CAMode, modes[0]); !slices.Contains(modes, i.CAMode) {
		return fail("caMode", "unknown mode %q; want %s", i.CAMode, strings.Join(modes, ", "))
	}
	if _, err := alteration(i.ServerCertificate); err != nil {
		return fail("serverCertificate", "%w", err)
	}
	if _, err := parseExchange(i.MetadataExchange); err != nil {
		return fail("metadataExchange", "%w", err)
	}
	if _, err := parseBehavior(i.Behavior); err != nil {
		return fail("behavior", "%w", err)
	}
	return "", nil
}

// isAddress reports whether s is host:port, or the path of a unix socket.
func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	return strings.ContainsAny(s, `/\`) || err == nil && port != ""
}
