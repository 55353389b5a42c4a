package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// program is what is built for people to download.
type program struct {
	name    string
	systems []string
}

var programs = []program{
	{"cloudsqlconn", []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}},
	{"cloudsql-emulator", []string{"linux/amd64", "linux/arm64"}}, // elsewhere 127.0.0.0/8 needs to be set up
}

// build builds the programs of the commit that has the tags, and their bills of
// materials, with a sum of each. One program is built a second time, from another
// folder and without a cache, and must be the same.
func build(tree, version, out string, fast bool) (err error) {
	var bills *biller
	if !fast {
		if bills, err = newBiller(filepath.Join(out, "tools"), filepath.Join(out, "proxy")); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, bills.close()) }()
	}
	host := runtime.GOOS + "/" + runtime.GOARCH
	var sums []string
	for _, p := range programs {
		for _, system := range p.systems {
			if fast && system != host {
				continue
			}
			file := filepath.Join(out, "programs", strings.Join([]string{p.name, version, strings.ReplaceAll(system, "/", "-")}, "-"))
			if strings.HasPrefix(system, "windows/") {
				file += ".exe"
			}
			sum, err := compile(tree, p.name, system, file)
			if err != nil {
				return err
			}
			sums = append(sums, sum+"  "+filepath.Base(file))
			if fast {
				continue
			}
			if sum, err = bills.write(version, file); err != nil {
				return err
			}
			sums = append(sums, sum+"  "+filepath.Base(file)+".cdx.json")
		}
	}
	if err := os.WriteFile(filepath.Join(out, "programs", "SHA256SUMS"), []byte(strings.Join(sums, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return again(tree, out, host, strings.Fields(sums[0])[0], fast)
}

// compile builds one program, with more in its environment, and returns its sum.
func compile(tree, name, system, file string, more ...string) (string, error) {
	goos, goarch, _ := strings.Cut(system, "/")
	env := append(more, "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if err := run(tree, env, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", file, "./cmd/"+name); err != nil {
		return "", err
	}
	return sumOf(file)
}

// sumOf returns the SHA-256 of a file.
func sumOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(text)), nil
}

// again builds the first program once more, from a clone elsewhere.
func again(tree, out, host, want string, fast bool) error {
	elsewhere := filepath.Join(out, "elsewhere", "tree")
	if err := run("", nil, "git", "clone", "--quiet", "--shared", tree, elsewhere); err != nil {
		return err
	}
	system := programs[0].systems[0]
	if fast {
		system = host
	}
	got, err := compile(elsewhere, programs[0].name, system, filepath.Join(out, "elsewhere", programs[0].name), "GOCACHE="+filepath.Join(out, "elsewhere", "cache"))
	if err == nil && got != want {
		err = errors.New("two builds of one commit differ")
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(out, "elsewhere")))
}
