package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	module = "github.com/cloudsqlconn/cloudsqlconn"
	root   = "cloudsqlconn" // the root package, in the picture
)

// room is a package of the module.
type room struct {
	name    string // its path in the module; the root package's is root
	says    string // the first sentence of its comment, without its name
	knows   bool   // the comment says what it knows, or must not know
	imports []string
	level   int // 0 imports nothing of the module
	code    int // lines, without those of tests, comments and blanks
}

// house is the packages of the module by their names.
type house map[string]*room

// load reads the packages of the module in dir.
func load(dir string) (house, error) {
	list := exec.Command("go", "list", "-e=false", "-json=ImportPath,Imports,Doc,Dir,GoFiles", "./...")
	list.Dir = dir
	var out, problems bytes.Buffer
	list.Stdout, list.Stderr = &out, &problems
	if err := list.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, problems.String())
	}
	h := house{}
	for dec := json.NewDecoder(&out); ; {
		var p struct {
			ImportPath, Dir  string
			Imports, GoFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(p.GoFiles) == 0 {
			continue
		}
		comment, err := comment(p.Dir, p.GoFiles)
		if err != nil {
			return nil, err
		}
		code, err := code(p.Dir)
		if err != nil {
			return nil, err
		}
		r := &room{name: short(p.ImportPath), says: sentence(comment), knows: strings.Contains(comment, " know"), code: code}
		for _, path := range p.Imports {
			if strings.HasPrefix(path+"/", module+"/") {
				r.imports = append(r.imports, short(path))
			}
		}
		slices.Sort(r.imports)
		h[r.name] = r
	}
	if h[root] == nil {
		return nil, fmt.Errorf("%s is not the folder of %s", dir, module)
	}
	for _, r := range h {
		h.rank(r)
	}
	return h, nil
}

// short is the path of a package in the module.
func short(path string) string {
	if path == module {
		return root
	}
	return strings.TrimPrefix(path, module+"/")
}

// rank sets the level of a package: one more than that of all that it imports.
func (h house) rank(r *room) int {
	if r.level == 0 {
		for _, name := range r.imports {
			r.level = max(r.level, h.rank(h[name])+1)
		}
	}
	return r.level
}

// code counts the lines of code in a folder's Go files, for whatever system.
func code(dir string) (n int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				n++
			}
		}
	}
	return n, nil
}

// ships is what the root package is made of, itself included.
func (h house) ships() map[string]bool { return h.madeOf(root) }

// madeOf is a package and all that it imports, itself or through others.
func (h house) madeOf(name string) map[string]bool {
	all := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if !all[name] {
			all[name] = true
			for _, other := range h[name].imports {
				add(other)
			}
		}
	}
	add(name)
	return all
}

// sorted are the packages for which keep holds, by name.
func (h house) sorted(keep func(*room) bool) (list []*room) {
	for _, r := range h {
		if keep(r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *room) int { return strings.Compare(a.name, b.name) })
	return list
}
