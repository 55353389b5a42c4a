package migrating

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"testing"

	"cloud.google.com/go/auth/oauth2adapt"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// here are all names of this module that MIGRATING.md names, compiled.
var here = map[string]any{
	"Dialer":                   (*cloudsqlconn.Dialer)(nil),
	"ConnInfo":                 cloudsqlconn.ConnInfo{},
	"DialOption":               cloudsqlconn.DialOption(nil),
	"DialOptions":              cloudsqlconn.DialOptions,
	"Dialer.Close":             (*cloudsqlconn.Dialer).Close,
	"Dialer.Dial":              (*cloudsqlconn.Dialer).Dial,
	"Dialer.EngineVersion":     (*cloudsqlconn.Dialer).EngineVersion,
	"Dialer.Warmup":            (*cloudsqlconn.Dialer).Warmup,
	"ErrBadName":               cloudsqlconn.ErrBadName,
	"ErrConfig":                cloudsqlconn.ErrConfig,
	"ErrDialerClosed":          cloudsqlconn.ErrDialerClosed,
	"ErrNoAddress":             cloudsqlconn.ErrNoAddress,
	"ErrNotFound":              cloudsqlconn.ErrNotFound,
	"ErrPermission":            cloudsqlconn.ErrPermission,
	"ErrUnverified":            cloudsqlconn.ErrUnverified,
	"Error":                    (*cloudsqlconn.Error)(nil),
	"Error.Code":               (*cloudsqlconn.Error).Code,
	"Error.Reason":             (*cloudsqlconn.Error).Reason,
	"Error.RetryAfter":         (*cloudsqlconn.Error).RetryAfter,
	"Name":                     cloudsqlconn.Name{},
	"Name.Instance":            cloudsqlconn.Name.Instance,
	"Name.Project":             cloudsqlconn.Name.Project,
	"Name.Region":              cloudsqlconn.Name.Region,
	"Name.String":              cloudsqlconn.Name.String,
	"NewDialer":                cloudsqlconn.NewDialer,
	"OpDial":                   cloudsqlconn.OpDial,
	"OpHandshake":              cloudsqlconn.OpHandshake,
	"OpRefresh":                cloudsqlconn.OpRefresh,
	"OpStream":                 cloudsqlconn.OpStream,
	"Option":                   cloudsqlconn.Option(nil),
	"Options":                  cloudsqlconn.Options,
	"ParseName":                cloudsqlconn.ParseName,
	"Resolution":               cloudsqlconn.Resolution{},
	"Resolver":                 cloudsqlconn.Resolver(nil),
	"SQLDataOnly":              cloudsqlconn.SQLDataOnly,
	"SQLDataPrefer":            cloudsqlconn.SQLDataPrefer,
	"WithAdminAPIEndpoint":     cloudsqlconn.WithAdminAPIEndpoint,
	"WithAutoIP":               cloudsqlconn.WithAutoIP,
	"WithCredentialsFile":      cloudsqlconn.WithCredentialsFile,
	"WithCredentialsJSON":      cloudsqlconn.WithCredentialsJSON,
	"WithDNSResolver":          cloudsqlconn.WithDNSResolver,
	"WithDialFunc":             cloudsqlconn.WithDialFunc,
	"WithDialTimeout":          cloudsqlconn.WithDialTimeout,
	"WithFailoverPeriod":       cloudsqlconn.WithFailoverPeriod,
	"WithHTTPClient":           cloudsqlconn.WithHTTPClient,
	"WithIAMAuthN":             cloudsqlconn.WithIAMAuthN,
	"WithIAMAuthNTokenSources": cloudsqlconn.WithIAMAuthNTokenSources,
	"WithIPTypes":              cloudsqlconn.WithIPTypes,
	"WithLazyRefresh":          cloudsqlconn.WithLazyRefresh,
	"WithLoginAfterRefresh":    cloudsqlconn.WithLoginAfterRefresh,
	"WithLogger":               cloudsqlconn.WithLogger,
	"WithMetadataExchange":     cloudsqlconn.WithMetadataExchange,
	"WithMeterProvider":        cloudsqlconn.WithMeterProvider,
	"WithPSC":                  cloudsqlconn.WithPSC,
	"WithPrivateIP":            cloudsqlconn.WithPrivateIP,
	"WithPrivateKey":           cloudsqlconn.WithPrivateKey,
	"WithProxy":                cloudsqlconn.WithProxy,
	"WithProxyFromEnvironment": cloudsqlconn.WithProxyFromEnvironment,
	"WithPublicIP":             cloudsqlconn.WithPublicIP,
	"WithQuotaProject":         cloudsqlconn.WithQuotaProject,
	"WithRefreshTimeout":       cloudsqlconn.WithRefreshTimeout,
	"WithResolver":             cloudsqlconn.WithResolver,
	"WithSQLData":              cloudsqlconn.WithSQLData,
	"WithSQLDataEndpoint":      cloudsqlconn.WithSQLDataEndpoint,
	"WithTCPKeepAlive":         cloudsqlconn.WithTCPKeepAlive,
	"WithTokenSource":          cloudsqlconn.WithTokenSource,
	"WithUnlistedDomain":       cloudsqlconn.WithUnlistedDomain,
	"WithUniverseDomain":       cloudsqlconn.WithUniverseDomain,
	"WithUserAgent":            cloudsqlconn.WithUserAgent,
	"mysql.NewConnector":       mysql.NewConnector,
	"mysql.RegisterDriver":     mysql.RegisterDriver,
	"postgres.Configure":       postgres.Configure,
	"postgres.ConfigurePool":   postgres.ConfigurePool,
	"postgres.NewConnector":    postgres.NewConnector,
	"postgres.NewPool":         postgres.NewPool,
	"postgres.RegisterDriver":  postgres.RegisterDriver,
	"sqlserver.NewConnector":   sqlserver.NewConnector,
	"sqlserver.RegisterDriver": sqlserver.RegisterDriver,

	"oauth2adapt.TokenSourceFromTokenProvider": cloudsqlconn.WithTokenSource(oauth2adapt.TokenSourceFromTokenProvider(nil)),
}

// row is a row of a table in MIGRATING.md.
type row []string

// table returns the rows of the table under a heading.
func table(t *testing.T, heading string) (rows []row) {
	t.Helper()
	text, err := os.ReadFile("../../MIGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "## "+heading+"\n")
	if !ok {
		t.Fatalf("MIGRATING.md has no section %s", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) > 3 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells[1:len(cells)-1])
		}
	}
	if len(rows) < 10 {
		t.Fatalf("the table under %s has %d rows", heading, len(rows))
	}
	return rows[2:] // without the heading and the line under it
}

// names returns what stands between backquotes.
func names(cell string) (list []string) {
	for i, s := range strings.Split(cell, "`") {
		if i%2 == 1 {
			list = append(list, s)
		}
	}
	return list
}

// google returns the exported names of Google's connector.
func google(t *testing.T) map[string]bool {
	t.Helper()
	f, err := os.Open("testdata/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list := map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			list[strings.TrimPrefix(line, "cloudsqlconn.")] = true
		}
	}
	if err := errors.Join(lines.Err()); err != nil || len(list) == 0 {
		t.Fatalf("read %d names: %v", len(list), err)
	}
	return list
}

// Each name of Google's connector is in one row, and what its row says for it
// is compiled here.
func TestEachNameHasACounterpartThatCompilesOrNone(t *testing.T) {
	t.Parallel()
	want, seen := google(t), map[string]bool{}
	for _, r := range table(t, "Names") {
		there, answer := names(r[0]), r[1]
		for _, name := range there {
			if !want[name] || seen[name] {
				t.Errorf("%s is no name of Google's connector, or is there twice", name)
			}
			seen[name] = true
			if _, ok := here[name]; strings.HasPrefix(answer, "the same") && !ok {
				t.Errorf("%s is not here under the same name", name)
			}
		}
		for _, name := range names(answer) {
			if _, ok := here[name]; !ok {
				t.Errorf("%s: %s is not compiled", r[0], name)
			}
		}
		if len(names(answer)) == 0 && !strings.HasPrefix(answer, "the same") && !strings.HasPrefix(answer, "none") {
			t.Errorf("%s: the row says nothing", r[0])
		}
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("%s is in no row", name)
		}
	}
}
