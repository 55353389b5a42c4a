package sqldata_test

import (
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"sqladmin.googleapis.com":          "https://sqladmin.googleapis.com:443",
		"localhost:9443":                   "https://localhost:9443",
		"https://sqladmin.googleapis.com":  "https://sqladmin.googleapis.com:443",
		"https://sqladmin.googleapis.com/": "https://sqladmin.googleapis.com:443",
		"https://host:8443":                "https://host:8443",
		"http://127.0.0.1:80":              "http://127.0.0.1:80",
		"http://host":                      "http://host:80",
		"::1":                              "https://[::1]:443",
		"[::1]:9443":                       "https://[::1]:9443",
		"https://[fd00::1]":                "https://[fd00::1]:443",
		"10.0.0.1":                         "https://10.0.0.1:443",
	} {
		e, err := sqldata.ParseEndpoint(in)
		if err != nil || e.String() != want {
			t.Errorf("%s: %v, %v; want %s", in, e, err, want)
		}
	}
	for _, in := range []string{
		"", ":443", "https://", "dns:///host", "ftp://host", "host:port", "host:0", "host:65536", "https://host/path",
		"https://user:secret@host", "host?secret", "http://host#secret", "a b", "[::1",
	} {
		e, err := sqldata.ParseEndpoint(in)
		if err == nil {
			t.Errorf("%q: %v", in, e)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows it: %v", in, err)
		}
	}
}
