package sqldriver_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

func TestTheDataSourceNameChoosesSQLData(t *testing.T) {
	t.Parallel()
	d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "x"})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	code := []cloudsqlconn.DialOption{cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataOnly)}
	for value, want := range map[string]cloudsqlconn.SQLDataMode{"never": cloudsqlconn.SQLDataNever, "Prefer": cloudsqlconn.SQLDataPrefer, "ONLY": cloudsqlconn.SQLDataOnly} {
		params := map[string]string{"cloudsql_sql_data": value, "other": "x"}
		opts, err := sqldriver.Options(d, params, code)
		if err != nil || len(params) != 1 || params["other"] != "x" {
			t.Errorf("%s: %v, left are %v", value, err, params)
		}
		if got := d.SQLDataMode(opts...); got != want {
			t.Errorf("%s: got %v, want %v", value, got, want)
		}
	}
	if opts, err := sqldriver.Options(d, map[string]string{}, code); err != nil || d.SQLDataMode(opts...) != cloudsqlconn.SQLDataOnly {
		t.Errorf("without the parameter: %v", err)
	}
	_, err = sqldriver.Options(d, map[string]string{"cloudsql_sql_data": "sometimes"}, nil)
	if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "configure: cloudsql_sql_data: ") {
		t.Errorf("got %v", err)
	}
}

// The hint told how to write a data source name, which was right but for one word.
func TestAWrongParameterHasAHintOfItsOwn(t *testing.T) {
	t.Parallel()
	d, err := cloudsqlconn.NewDialer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for name, want := range map[string]string{
		"cloudsql_ip_types":  "cloudsql_ip_types=PRIVATE for the address inside a VPC network",
		"cloudsql_iam_authn": "cloudsql_iam_authn=true",
		"cloudsql_sql_data":  "cloudsql_sql_data=prefer",
	} {
		_, err := sqldriver.Options(d, map[string]string{name: "INTERNAL"}, nil)
		err = sqldriver.ConfigError(err, "generic")
		if hint := cloudsqlconn.Hint(err); !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), `"INTERNAL"`) || !strings.Contains(hint, want) {
			t.Errorf("%s: got %v, hint %q", name, err, hint)
		}
	}
}

func TestWrongOptionsAreFoundBeforeADial(t *testing.T) {
	t.Parallel()
	d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "x"})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for want, opt := range map[string]cloudsqlconn.DialOption{
		"option 0 is nil":                   nil,
		"WithDialTimeout":                   cloudsqlconn.WithDialTimeout(-1),
		"WithIPTypes":                       cloudsqlconn.WithIPTypes(),
		"WithProxy":                         cloudsqlconn.WithProxy("ftp://proxy"),
		"WithDialFunc":                      cloudsqlconn.WithDialFunc(nil),
		"WithIAMAuthN with WithTokenSource": cloudsqlconn.WithIAMAuthN(true),
	} {
		_, err := sqldriver.Options(d, map[string]string{}, []cloudsqlconn.DialOption{opt})
		told, ok := errors.AsType[*cloudsqlconn.Error](err)
		if !ok || told.Op != cloudsqlconn.OpConfig || !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
