package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/zip"
)

// private are the folders of modules that nobody imports: they measure and test
// this repository.
var private = []string{"bench", "interop", ".ci/tools"}

// member is a module of this repository.
type member struct {
	dir  string // below the top; "": at the top
	path string
	mod  *modfile.File
}

// tag is the name of the version's tag.
func (m *member) tag(version string) string { return strings.TrimPrefix(m.dir+"/"+version, "/") }

// members returns the modules that are released: each behind those that it
// requires.
func members(tree string) (sorted []*member, err error) {
	list, err := output(tree, "git", "ls-files", "go.mod", "*/go.mod")
	if err != nil {
		return nil, err
	}
	var all []*member
	for _, file := range strings.Fields(list) {
		dir := strings.TrimSuffix(strings.TrimSuffix(file, "go.mod"), "/")
		if slices.Contains(private, dir) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(tree, file))
		if err != nil {
			return nil, err
		}
		mod, err := modfile.Parse(file, text, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, &member{dir, mod.Module.Mod.Path, mod})
	}
	for len(sorted) < len(all) {
		before := len(sorted)
		for _, m := range all {
			ready := !slices.ContainsFunc(m.mod.Require, func(r *modfile.Require) bool {
				is := func(m *member) bool { return m.path == r.Mod.Path }
				return slices.ContainsFunc(all, is) && !slices.ContainsFunc(sorted, is)
			})
			if ready && !slices.Contains(sorted, m) {
				sorted = append(sorted, m)
			}
		}
		if len(sorted) == before {
			return nil, errors.New("modules require each other")
		}
	}
	return sorted, nil
}

// publish lets the modules require each other's new versions, commits and tags
// that, and puts them into a module proxy.
func publish(tree, version, proxy string) error {
	all, err := members(tree)
	if err != nil {
		return err
	}
	sums := map[string]string{} // lines of go.sum, by path
	var tags []string
	for _, m := range all {
		if err := m.release(tree, version, all, sums); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		if sums[m.path], err = m.put(tree, version, proxy); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		tags = append(tags, m.tag(version))
	}
	return commit(tree, "release "+version+": modules require each other's versions", tags...)
}

// release takes the replacements out of a go.mod, and adds the sums of what took
// their place to go.sum. All else is as it was: the replacements have the same
// requirements.
func (m *member) release(tree, version string, all []*member, sums map[string]string) error {
	lines := ""
	for _, other := range all {
		for _, r := range m.mod.Replace {
			if r.Old.Path == other.path {
				if err := m.mod.DropReplace(r.Old.Path, r.Old.Version); err != nil {
					return err
				}
			}
		}
		for _, r := range m.mod.Require {
			if r.Mod.Path == other.path {
				if err := m.mod.AddRequire(other.path, version); err != nil {
					return err
				}
				lines += sums[other.path]
			}
		}
	}
	if m.mod.Cleanup(); len(m.mod.Replace) > 0 {
		return errors.New("go.mod replaces a module of somebody else, which importers do not see")
	}
	if lines == "" {
		return nil
	}
	dir := filepath.Join(tree, m.dir)
	text, err := m.mod.Format()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), text, 0o644); err != nil {
		return err
	}
	return edit(filepath.Join(dir, "go.sum"), func(text string) (string, error) {
		all := strings.SplitAfter(text+lines, "\n")
		slices.Sort(all)
		return strings.Join(all, ""), nil
	})
}

// put puts a module into the proxy, as the go command makes it of a tag and asks
// for it, and returns its lines of go.sum. It has the LICENSE of the top if it has none.
func (m *member) put(tree, version, proxy string) (sums string, err error) {
	escaped, err := module.EscapePath(m.path)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	source := filepath.Join(tree, m.dir)
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC()})
	if err != nil {
		return "", err
	}
	for name, text := range map[string][]byte{version + ".mod": mod, version + ".info": info, "list": []byte(version + "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return "", err
		}
	}
	if err := run(tree, nil, "git", "add", "--all"); err != nil {
		return "", err
	}
	staged, err := output(tree, "git", "write-tree")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, version+".zip")
	file, err := os.Create(name)
	if err != nil {
		return "", err
	}
	err = zip.CreateFromVCS(file, module.Version{Path: m.path, Version: version}, tree, staged, m.dir)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	whole, err := dirhash.HashZip(name, dirhash.Hash1)
	if err != nil {
		return "", err
	}
	ofMod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return os.Open(filepath.Join(source, "go.mod")) })
	return fmt.Sprintf("%s %s %s\n%[1]s %[2]s/go.mod %[4]s\n", m.path, version, whole, ofMod), err
}

// proxyEnv makes the go command look for our modules in a proxy of files. All
// others come from what this machine has, or from where it always gets them.
func proxyEnv(proxy string) []string {
	cache, _ := output("", "go", "env", "GOMODCACHE")
	upstream, _ := output("", "go", "env", "GOPROXY")
	return []string{
		"GOPROXY=" + fileURL(proxy) + "," + fileURL(filepath.Join(cache, "cache", "download")) + "," + upstream,
		"GONOSUMDB=" + root + "," + root + "/*", "GONOPROXY=none", "GOPRIVATE=",
	}
}

func fileURL(dir string) string { return "file://" + filepath.ToSlash(dir) }
