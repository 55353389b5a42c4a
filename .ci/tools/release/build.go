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

// bom lists what is in a program.
const bom = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0"

// program is what is built for people to download.
type program struct {
	name    string
	systems []string
}

var programs = []program{
	{"cloudsqlconn", []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}},
	{"cloudsql-emulator", []string{"linux/amd64", "linux/arm64"}}, // elsewhere 127.0.0.0/8 needs to be set up
}

// build builds the programs of the commit that has the tags, with a sum of each.
// One of them is built a second time, from another folder and without a cache, and
// must be the same.
func build(tree, version, out string, fast bool) error {
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
			if err := run("", nil, "go", "run", bom, "bin", "-json", "-licenses", "-version", version, "-output", file+".cdx.json", file); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(filepath.Join(out, "programs", "SHA256SUMS"), []byte(strings.Join(sums, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return again(tree, out, host, strings.Fields(sums[0])[0], fast)
}

// compile builds one program and returns its sum.
func compile(tree, name, system, file string) (string, error) {
	goos, goarch, _ := strings.Cut(system, "/")
	env := []string{"GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS="}
	if err := run(tree, env, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", file, "./cmd/"+name); err != nil {
		return "", err
	}
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
	if err := os.Setenv("GOCACHE", filepath.Join(out, "elsewhere", "cache")); err != nil {
		return err
	}
	system := programs[0].systems[0]
	if fast {
		system = host
	}
	got, err := compile(elsewhere, programs[0].name, system, filepath.Join(out, "elsewhere", programs[0].name))
	if err == nil && got != want {
		err = errors.New("two builds of one commit differ")
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(out, "elsewhere")))
}
