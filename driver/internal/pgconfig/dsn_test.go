package pgconfig

import (
	"os"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
)

// What pgx makes of a data source name is the same without the files, and a user
// who is not the operating system's has been named.
func FuzzDataSourceNames(f *testing.F) {
	for _, dsn := range []string{
		"", "user=app", "user='a p\\'p' dbname=x", `password=x\`, `user=a\ b`, "user='' user=x", "user=x user=''", "host=h service=none",
		"postgres://app@h/x", "postgres://:pass@h/x?user=app", "postgres://a%20p?p:x@h/x", "postgres://h/x?", "postgres://h/x?a=b&", "postgresql://@/x?user=", "postgres://h?user=%41pp",
	} {
		f.Add(dsn)
	}
	me, err := user.Current()
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"PGUSER", "PGSERVICE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"} {
		f.Setenv(name, "")
	}
	home := f.TempDir()
	f.Setenv("HOME", home)
	f.Setenv("PGSERVICEFILE", filepath.Join(home, "services"))
	if err := os.WriteFile(filepath.Join(home, "services"), nil, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		s := pairs(dsn)
		if s["servicefile"] != "" || s["sslrootcert"] != "" || s["sslcert"] != "" || s["sslkey"] != "" || s["passfile"] != "" {
			return // reads files
		}
		before, err := pgx.ParseConfig(dsn)
		if err != nil {
			return
		}
		after, err := pgx.ParseConfig(withoutFiles(dsn))
		if err != nil {
			t.Fatalf("%q: %v", dsn, err)
		}
		if before.User != after.User || before.Password != after.Password || before.Host != after.Host || before.Database != after.Database || len(before.RuntimeParams) != len(after.RuntimeParams) {
			t.Errorf("%q has become %q", dsn, withoutFiles(dsn))
		}
		if before.User != me.Username && before.User != "" && !names("user", dsn) {
			t.Errorf("%q names %q", dsn, before.User)
		}
	})
}
