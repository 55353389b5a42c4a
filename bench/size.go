package bench

import (
	"context"
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
	tab := table{head: []string{"program", "ours", "peer", "packages: ours", "peer"}}
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
	r.table(tab)
	return nil
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
