package sqlserver_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// corpus returns the lines of a file, each in its fields.
func corpus(t testing.TB, file string, fields int) (lines [][]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	wantNil(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != fields {
			t.Fatalf("%s: %q", file, line)
		}
		lines = append(lines, f)
	}
	return lines
}

func TestGoodDataSourceNamesLogIn(t *testing.T) {
	t.Parallel()
	for _, line := range corpus(t, "testdata/good.tsv", 4) {
		user, password, database, dsn := line[0], line[1], line[2], line[3]
		t.Run(dsn, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCloud(t, &tds.Server{Users: map[string]string{user: password}})
				wantNil(t, open(t, c.dialer, dsn).PingContext(t.Context()))
				got := c.db.Sessions()[0].Login
				if got.Database == "" {
					got.Database = "master"
				}
				if got.User != user || got.Password != password || got.Database != database {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

func TestBadDataSourceNamesAreErrors(t *testing.T) {
	t.Parallel()
	d := newDialer(t)
	for _, line := range corpus(t, "testdata/bad.tsv", 2) {
		want, dsn := line[0], line[1]
		_, err := sqlserver.NewConnector(d, dsn)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", dsn, err, want)
			continue
		}
		if e, ok := errors.AsType[*cloudsqlconn.Error](err); !ok || e.Op != cloudsqlconn.OpConfig || e.Hint == "" || !errors.Is(err, cloudsqlconn.ErrBadName) && !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("%s: got %#v", dsn, err)
		}
		name := strings.Contains(want, "instance") || strings.Contains(want, "parameter cloudsql")
		if name && !errors.Is(err, cloudsqlconn.ErrBadName) {
			t.Errorf("%s: got %v, want ErrBadName", dsn, err)
		}
		if config := want == "encrypt=strict" || strings.HasPrefix(want, "cloudsql_"); config && !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", dsn, err)
		}
	}
}

func TestTheDataSourceNameChoosesTheAddress(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]error{"PRIVATE": nil, "PSC": cloudsqlconn.ErrNoAddress} {
		synctest.Test(t, func(t *testing.T) {
			c := newCloud(t, &tds.Server{})
			db := open(t, c.dialer, plainDSN+"&cloudsql_ip_types="+list, cloudsqlconn.WithPublicIP())
			if err := db.PingContext(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", list, err, want)
			}
		})
	}
}

// Cloud SQL for SQL Server has no IAM login; the Dialer says so.
func TestIAMLoginIsAConfigurationError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, &tds.Server{})
		db := open(t, c.dialer, plainDSN+"&cloudsql_iam_authn=true")
		if err := db.PingContext(t.Context()); !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("got %v, want ErrConfig", err)
		}
		if n := len(c.db.Sessions()); n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestNothingGrowsWithTheNumberOfDataSourceNames(t *testing.T) {
	d := newDialer(t)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range 10_000 {
		_, err := sqlserver.NewConnector(d, plainDSN+"&app+name="+strings.Repeat("x", i%100)+string(rune('a'+i%26)))
		wantNil(t, err)
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d bytes are left", grown)
	}
	runtime.KeepAlive(d)
}

func FuzzNewConnector(f *testing.F) {
	for _, line := range corpus(f, "testdata/good.tsv", 4) {
		f.Add(line[3])
	}
	for _, line := range corpus(f, "testdata/bad.tsv", 2) {
		f.Add(line[1])
	}
	d := newDialer(f)
	f.Fuzz(func(t *testing.T, dsn string) {
		if strings.Contains(strings.ToLower(dsn), "certificate") {
			return // would read files
		}
		c, err := sqlserver.NewConnector(d, dsn)
		if (c == nil) == (err == nil) {
			t.Errorf("NewConnector(%q) = %v, %v", dsn, c, err)
		}
	})
}
