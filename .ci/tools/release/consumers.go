package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// importer is a program that imports one package only.
const importer = `package main

import (
	"fmt"

	"github.com/cloudsqlconn/cloudsqlconn/embedded/pgsqlite"
)

func main() {
	engine, err := pgsqlite.New()
	if err != nil {
		panic(err)
	}
	fmt.Println("started", engine.Close())
}
`

// consume uses the modules in the proxy as those do who have nothing else.
func consume(tree, version, out string, fast bool) (err error) {
	cache := filepath.Join(out, "consumers")
	env := append(proxyEnv(filepath.Join(out, "proxy")), "GOMODCACHE="+cache, "GOWORK=off", "GOFLAGS=-trimpath -buildvcs=false")
	defer func() { err = errors.Join(err, run("", env, "go", "clean", "-modcache")) }()
	home := filepath.Join(out, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}

	// A program of somebody's that imports a nested module.
	if err := os.WriteFile(filepath.Join(home, "main.go"), []byte(importer), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"mod", "init", "example.com/importer"}, {"get", root + "/embedded/pgsqlite@" + version}, {"mod", "tidy"}} {
		if err := run(home, env, "go", args...); err != nil {
			return err
		}
	}
	if err := expect(home, env, "started <nil>", "run", "."); err != nil {
		return err
	}

	// Programs that are run by their names.
	for _, c := range []struct {
		want string
		args []string
	}{
		{"cloudsqlconn " + version + ",", []string{root + "/cmd/cloudsqlconn@" + version, "version"}},
		{"cloudsql-emulator " + version + ",", []string{root + "/cmd/cloudsql-emulator@" + version, "-version"}},
		{"cloudsql-emulator " + version + ",", []string{root + "/embedded/cmd/cloudsql-emulator@" + version, "-version"}},
		{"PROVE_PASSWORD", []string{root + "/e2e/prove@" + version, "-h"}},
		{"Book One", []string{root + "/cmd/quickstart@" + version, "-engine", "stand-in"}},
	} {
		if fast && strings.Contains(c.args[0], "/embedded/") {
			continue // takes minutes to build
		}
		if err := expect(os.TempDir(), env, c.want, append([]string{"run"}, c.args...)...); err != nil {
			return err
		}
	}

	// Each module by itself, as it is in the proxy: all that it and its tests import
	// is there, and has its sums.
	all, err := members(tree)
	if err != nil {
		return err
	}
	for _, m := range all {
		dir, err := outputWith(home, append(env, "GOFLAGS=-mod=mod"), "go", "mod", "download", "-json", m.path+"@"+version)
		if err != nil {
			return err
		}
		_, dir, _ = strings.Cut(dir, `"Dir": "`)
		dir, _, _ = strings.Cut(dir, `"`)
		if err := run(dir, env, "go", "list", "-deps", "-test", "./..."); err != nil {
			return fmt.Errorf("%s by itself: %w", m.path, err)
		}
	}
	return nil
}

// expect runs the go command, which must print something.
func expect(dir string, env []string, want string, args ...string) error {
	got, err := outputWith(dir, env, "go", args...)
	if err == nil && !strings.Contains(got, want) {
		err = fmt.Errorf("go %s: got %s, want %s", strings.Join(args, " "), got, want)
	}
	return err
}
