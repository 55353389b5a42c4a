package cloudsqlconn_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"my-project:europe-west1:my-db", "example.com:my-project:us-central1:db-1", "p:r:i", "google.com:p1:asia-northeast1:i2"} {
		n, err := cloudsqlconn.ParseName(s)
		if err != nil || n.String() != s || n.Project()+":"+n.Region()+":"+n.Instance() != s || n.IsZero() {
			t.Errorf("ParseName(%q) = %v, %v", s, n, err)
		}
	}
}

// F39
func TestBadNamesShowTheExpectedForm(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "my-db", "my-project:my-db", ":::", "a:b:c:d:e", "a::c", "a:b:", ":b:c", " a:b:c", "a:b:c\n", "a b:c:d",
		"A:b:c", "a:b:C", "a:b:c/d", "https://example.com/a:b:c", "ä:b:c", "a:b:c\x00", "1a:b:c", "../a:b:c", strings.Repeat("a", 10000),
	} {
		n, err := cloudsqlconn.ParseName(s)
		if !errors.Is(err, cloudsqlconn.ErrBadName) || !n.IsZero() || n.String() != "" {
			t.Errorf("ParseName(%q) = %v, %v; want ErrBadName", s, n, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, "project:region:instance") || len(text) > 500 {
			t.Errorf("ParseName(%.20q): unhelpful error %q", s, text)
		}
	}
}

// Paths of sockets, and names of the Admin API, were "a text of 39 bytes".
func TestNamesWithSlashesSayWhatToLeaveOut(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"/cloudsql/my-project:europe-west1:my-db":                  `leave out /cloudsql/, and name "my-project:europe-west1:my-db"`,
		"/cloudsql/my-project:europe-west1:my-db/.s.PGSQL.5432":    `leave out /cloudsql/, and name "my-project:europe-west1:my-db"`,
		"/cloudsql/hunter2":                                        "leave out /cloudsql/;",
		"/cloudsql/my-project:europe-west1:my-db?password=hunter2": "leave out /cloudsql/;",
		"/cloudsql/":                                                            "leave out /cloudsql/;",
		"my-project/europe-west1/my-db":                                         "with '/' in it, where a name has ':'",
		"scott/hunter2/my-db":                                                   "with '/' in it, where a name has ':'",
		"projects/my-project/instances/my-db":                                   `"projects/my-project/instances/my-db" has no region`,
		"projects/example.com:my-project/instances/my-db":                       "has no region",
		"projects/my-project/instances/my-db?password=hunter2":                  "a text of 52 bytes",
		"https://hunter2@example.com/projects/my-project/instances/my-db":       "a text of 63 bytes",
		"postgres://me:hunter2@/cloudsql/my-project:europe-west1:my-db/hunter2": "a text of",
	} {
		_, err := cloudsqlconn.ParseName(s)
		if !errors.Is(err, cloudsqlconn.ErrBadName) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "want project:region:instance") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", s, err)
		}
	}
}

// A constructor asks, so that it fails, and not the first query.
func TestCheckNameKnowsWhatDialTakes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		opts            []cloudsqlconn.Option
		domain, slashes bool // are taken
	}{
		"connection names only": {nil, false, false},
		"DNS":                   {[]cloudsqlconn.Option{cloudsqlconn.WithDNSResolver(net.DefaultResolver)}, true, false},
		"a resolver":            {[]cloudsqlconn.Option{cloudsqlconn.WithResolver(anyName{})}, true, true},
	} {
		d, err := cloudsqlconn.NewDialer(t.Context(), tt.opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		for s, good := range map[string]bool{"my-project:europe-west1:my-db": true, "my-db": tt.domain, "db.example.com": tt.domain, "my-project/europe-west1/my-db": tt.slashes, "/cloudsql/p:r:i": tt.slashes} {
			if err := d.CheckName(s); (err == nil) != good || !good && !errors.Is(err, cloudsqlconn.ErrBadName) {
				t.Errorf("%s: CheckName(%q) = %v", name, s, err)
			}
			if good {
				continue
			}
			_, err := d.Dial(t.Context(), s)
			if e, ok := errors.AsType[*cloudsqlconn.Error](err); !ok || e.Op != cloudsqlconn.OpResolve || !errors.Is(err, cloudsqlconn.ErrBadName) {
				t.Errorf("%s: Dial of %q: %v", name, s, err)
			}
		}
	}
}

type anyName struct{}

func (anyName) Resolve(context.Context, string) (cloudsqlconn.Resolution, error) {
	return cloudsqlconn.Resolution{}, nil
}

func FuzzParseName(f *testing.F) {
	f.Add("my-project:europe-west1:my-db")
	f.Add("example.com:my-project:europe-west1:my-db")
	f.Add("a:b:c:d:e")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := cloudsqlconn.ParseName(s)
		if (err == nil) != (n.String() == s && s != "") {
			t.Errorf("ParseName(%q) = %q, %v", s, n, err)
		}
		if err != nil && !errors.Is(err, cloudsqlconn.ErrBadName) {
			t.Errorf("ParseName(%q): error %v is not ErrBadName", s, err)
		}
	})
}

func TestFormatIAMUser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ engine, principal, want string }{
		{"POSTGRES_16", "me@example.com", "me@example.com"},
		{"POSTGRES_9_6", "sa@p.iam.gserviceaccount.com", "sa@p.iam"},
		{"POSTGRES", "sa@p.iam", "sa@p.iam"},
		{"POSTGRES_17", "First.Last@Example.com", "first.last@example.com"},
		{"POSTGRES_17", "SA@p.iam.GserviceAccount.com", "sa@p.iam"},
		{"POSTGRES_17", "Postgres", "Postgres"},
		{"MYSQL_8_0", "me@example.com", "me"},
		{"MYSQL_8_4", "First.Last@Example.com", "first.last"},
		{"MYSQL", "App", "App"},
		{"MYSQL_8_4", "sa@p.iam.gserviceaccount.com", "sa"},
		{"MYSQL", "sa", "sa"},
		{"SQLSERVER_2022_WEB", "me@example.com", "me@example.com"},
	} {
		if got := cloudsqlconn.FormatIAMUser(tt.engine, tt.principal); got != tt.want {
			t.Errorf("FormatIAMUser(%q, %q) = %q, want %q", tt.engine, tt.principal, got, tt.want)
		}
	}
}

func TestParseIPType(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]cloudsqlconn.IPType{"public": cloudsqlconn.PublicIP, "Private": cloudsqlconn.PrivateIP, "PSC": cloudsqlconn.PSC} {
		if got, err := cloudsqlconn.ParseIPType(s); got != want || err != nil {
			t.Errorf("ParseIPType(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := cloudsqlconn.ParseIPType("IPV6"); !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "[PUBLIC PRIVATE PSC]") {
		t.Errorf("got %v", err)
	}
}
