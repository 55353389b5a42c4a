package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	oursPath = "github.com/cloudsqlconn/cloudsqlconn"
	peerPath = "cloud.google.com/go/cloudsqlconn"
)

// dialProgram only dials; driverProgram registers a database/sql driver.
const (
	dialProgram = `package main

import (
	"context"

	"%s"
)

func main() {
	d, err := cloudsqlconn.NewDialer(context.Background())
	if err != nil {
		panic(err)
	}
	if _, err := d.Dial(context.Background(), "my-project:europe-west1:my-db"); err != nil {
		panic(err)
	}
}
`
	driverProgram = `package main

import (
	"database/sql"

	driver "%s"
)

func main() {
	if _, err := driver.RegisterDriver("cloudsql"); err != nil {
		panic(err)
	}
	db, err := sql.Open("cloudsql", "host=my-project:europe-west1:my-db")
	if err != nil {
		panic(err)
	}
	panic(db.Ping())
}
`
)

var programs = []struct{ name, text, ours, peer string }{
	{"Dialer only", dialProgram, oursPath, peerPath},
	{"PostgreSQL", driverProgram, oursPath + "/driver/postgres", peerPath + "/postgres/pgxv5"},
	{"MySQL", driverProgram, oursPath + "/driver/mysql", peerPath + "/mysql/mysql"},
	{"SQL Server", driverProgram, oursPath + "/driver/sqlserver", peerPath + "/sqlserver/mssql"},
}

// sizes builds minimal programs.
func sizes(ctx context.Context, r *run) error {
	dir, err := os.MkdirTemp("", "cloudsqlconn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r.section("Binary size", "Minimal programs, built with `go build` and no flags; packages outside the standard library.")
	tab := table{head: []string{"program", oursName, peerName, "packages: " + oursName, peerName}}
	for _, p := range programs {
		var size [2]float64
		var packages [2]int
		for i, path := range []string{p.ours, p.peer} {
			if size[i], packages[i], err = build(ctx, dir, fmt.Sprintf(p.text, path)); err != nil {
				return fmt.Errorf("%s with %s: %w", p.name, path, err)
			}
		}
		tab.rows = append(tab.rows, []string{p.name, fmt.Sprintf("%.1f MB", size[0]/1e6), fmt.Sprintf("%.1f MB", size[1]/1e6),
			fmt.Sprint(packages[0]), fmt.Sprint(packages[1])})
	}
	r.text(fmt.Sprintf("A program that only dials has %s with ours, and %s with Google's.", tab.rows[0][1], tab.rows[0][2]))
	r.table(tab)
	return sqlDataSize(ctx, r)
}

// beforeSQLData is the last commit without SQL Data.
const beforeSQLData = "729aa96"

// sqlDataSize measures what SQL Data adds to a program, whether it uses it or not.
func sqlDataSize(ctx context.Context, r *run) error {
	const work, bar, most = "SQL Data: a minimal program, stripped", "≤ before + 60 KB", 60_000
	before, err := commitOf(ctx, beforeSQLData)
	if err != nil { // a shallow clone
		r.unmeasured(work, bar, err.Error())
		return nil
	}
	old, err := StrippedSizes(ctx, before)
	if err != nil {
		return err
	}
	now, err := StrippedSizes(ctx, "")
	if err != nil {
		return err
	}
	r.text(fmt.Sprintf("\"Dialer only\" with `-trimpath -ldflags=\"-s -w\"`, at the commit %s, which has no SQL Data, and now: `go run -C bench ./cmd/size %[1]s`", before))
	tab := table{head: []string{"program", "before", "now", "more"}}
	for i, p := range []string{"Dial", "Dial with WithSQLData"} {
		tab.rows = append(tab.rows, []string{p, fmt.Sprintf("%d B", old[0]), fmt.Sprintf("%d B", now[i]), fmt.Sprintf("%+.1f KB", float64(now[i]-old[0])/1e3)})
	}
	r.table(tab)
	more := now[0] - old[0]
	r.bar(work, bar, fmt.Sprintf("%+.1f KB; with WithSQLData %+.1f KB", float64(more)/1e3, float64(now[1]-old[0])/1e3), more <= most)
	return nil
}

// StrippedSizes returns the sizes of two minimal programs with the library as it
// is in a commit, or in this folder if that is "": one that dials, and one that
// does so with WithSQLData, 0 if there is none yet. The current folder must be
// that of this module.
func StrippedSizes(ctx context.Context, commit string) (sizes [2]int64, err error) {
	dir, err := os.MkdirTemp("", "cloudsqlconn-bench-")
	if err != nil {
		return sizes, err
	}
	defer os.RemoveAll(dir)
	module := ".."
	if commit != "" {
		module = filepath.Join(dir, "files")
		if err := errors.Join(os.Mkdir(module, 0o755), filesOf(ctx, commit, module)); err != nil {
			return sizes, err
		}
	}
	source, program := filepath.Join(dir, "minimal.go"), filepath.Join(dir, "minimal")
	text := fmt.Sprintf(dialProgram, oursPath)
	for i, text := range []string{text, strings.Replace(text, `my-db"`, `my-db", cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataPrefer)`, 1)} {
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			return sizes, err
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", program, source)
		cmd.Dir, cmd.Env = module, append(os.Environ(), "GOWORK=off")
		if err := output(cmd); err != nil {
			if i > 0 && strings.Contains(err.Error(), "undefined: cloudsqlconn.WithSQLData") {
				break
			}
			return sizes, err
		}
		info, err := os.Stat(program)
		if err != nil {
			return sizes, err
		}
		sizes[i] = info.Size()
	}
	return sizes, nil
}

func build(ctx context.Context, dir, text string) (size float64, packages int, err error) {
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return 0, 0, err
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, source).CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("%w\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		return 0, 0, err
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", source).Output()
	return float64(info.Size()), len(strings.Fields(string(out))), err
}
