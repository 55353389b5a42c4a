package cloudsqlconn_test

import (
	"errors"
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
