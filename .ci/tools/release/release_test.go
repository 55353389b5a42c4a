package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// checkout is a repository with these files, all of them committed.
func checkout(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		wantNil(t, os.MkdirAll(filepath.Dir(file), 0o755))
		wantNil(t, os.WriteFile(file, []byte(text), 0o644))
	}
	for _, args := range [][]string{{"init", "-q"}, {"config", "user.name", "t"}, {"config", "user.email", "t@example.com"}} {
		wantNil(t, run(dir, nil, "git", args...))
	}
	wantNil(t, commit(dir, "first"))
	return dir
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantRefused(t *testing.T, err error, why string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want %s", err, why)
	}
}

const (
	changes = "# Changelog\n\n## [Unreleased]\n\n- A.\n\n## [0.1.0] - 2026-01-01\n\n- B.\n"
	dialer  = "package cloudsqlconn\n\nconst version = \"0.1.0\"\n"
)

func TestWhatIsRefused(t *testing.T) {
	dir := checkout(t, map[string]string{"CHANGELOG.md": changes, "dialer.go": dialer})
	out := filepath.Join(dir, "out")
	wantNil(t, check(dir, "v0.2.0", out))
	for _, version := range []string{"0.2.0", "v0.2", "latest", "v0.2.0+meta"} {
		wantRefused(t, check(dir, version, out), "is no version")
	}
	wantRefused(t, check(dir, "v0.2.0", dir), "exists")
	wantNil(t, run(dir, nil, "git", "tag", "embedded/v0.2.0"))
	wantRefused(t, check(dir, "v0.2.0", out), "embedded/v0.2.0")
	wantNil(t, os.WriteFile(filepath.Join(dir, "new.txt"), nil, 0o644))
	wantRefused(t, check(dir, "v0.3.0", out), "new.txt")
}

func TestChangelogAndVersion(t *testing.T) {
	dir := checkout(t, map[string]string{"CHANGELOG.md": changes, "dialer.go": dialer})
	wantNil(t, date(dir, "v0.2.0", time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC)))
	for file, want := range map[string]string{
		"CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-02-03\n\n- A.\n\n## [0.1.0] - 2026-01-01\n\n- B.\n",
		"dialer.go":    "package cloudsqlconn\n\nconst version = \"0.2.0\"\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s", file, err, got)
		}
	}
	if tag, err := output(dir, "git", "tag", "--points-at", "HEAD"); err != nil || tag != "release/v0.2.0" {
		t.Errorf("the tags are %s, %v", tag, err)
	}
	wantRefused(t, date(dir, "v0.3.0", time.Now()), "nothing is unreleased")
}

func TestModulesComeBehindWhatTheyRequire(t *testing.T) {
	dir := checkout(t, map[string]string{
		"go.mod":          "module " + root + "\n",
		"a/go.mod":        "module " + root + "/a\n\nrequire (\n\t" + root + " v0.0.0\n\t" + root + "/b v0.0.0\n)\n\nreplace " + root + " => ../\n\nreplace " + root + "/b => ../b\n",
		"b/go.mod":        "module " + root + "/b\n\nrequire " + root + " v0.0.0\n\nreplace " + root + " => ../\n",
		"a/go.sum":        "",
		"b/go.sum":        "",
		"bench/go.mod":    "module " + root + "/bench\n",
		"doc.go":          "package doc\n",
		"CHANGELOG.md":    changes,
		"a/a.go":          "package a\n",
		"b/internal/b.go": "package b\n",
	})
	proxy := filepath.Join(t.TempDir(), "proxy")
	wantNil(t, publish(dir, "v0.2.0", proxy))
	got, err := output(dir, "git", "tag", "--points-at", "HEAD")
	if err != nil || got != "a/v0.2.0\nb/v0.2.0\nv0.2.0" {
		t.Errorf("the tags are %s, %v", got, err)
	}
	mod, err := os.ReadFile(filepath.Join(proxy, root, "a", "@v", "v0.2.0.mod"))
	if err != nil || strings.Contains(string(mod), "replace") || strings.Count(string(mod), "v0.2.0") != 2 {
		t.Errorf("%v\n%s", err, mod)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "a", "go.sum"))
	if err != nil || strings.Count(string(sum), " h1:") != 4 {
		t.Errorf("%v\n%s", err, sum)
	}
}

func TestReplacementsOfOthersAreRefused(t *testing.T) {
	dir := checkout(t, map[string]string{"go.mod": "module " + root + "\n\nreplace example.com/x => ./x\n"})
	wantRefused(t, publish(dir, "v0.2.0", filepath.Join(t.TempDir(), "proxy")), "replaces a module of somebody else")
}

func TestTheCheckoutGetsCommitsAndTags(t *testing.T) {
	for name, change := range map[string]func(dir string){
		"":        func(string) {},
		"moved":   func(dir string) { wantNil(t, commit(dir, "another")) },
		"changed": func(dir string) { wantNil(t, os.WriteFile(filepath.Join(dir, "dialer.go"), nil, 0o644)) },
	} {
		dir := checkout(t, map[string]string{"CHANGELOG.md": changes, "dialer.go": dialer})
		tree := filepath.Join(t.TempDir(), "tree")
		wantNil(t, run("", nil, "git", "clone", "--quiet", "--shared", dir, tree))
		for _, args := range [][]string{{"config", "user.name", "t"}, {"config", "user.email", "t@example.com"}} {
			wantNil(t, run(tree, nil, "git", args...))
		}
		wantNil(t, date(tree, "v0.2.0", time.Now()))
		wantNil(t, commit(tree, "modules", "v0.2.0", "embedded/v0.2.0"))
		change(dir) // while the release is tried
		before, _ := output(dir, "git", "rev-parse", "HEAD")
		tags, err := adopt(dir, tree, "v0.2.0")
		after, _ := output(dir, "git", "log", "-1", "--format=%s")
		added, _ := output(dir, "git", "tag")
		if name == "" {
			if err != nil || after != "release v0.2.0" || strings.Join(tags, " ") != "release/v0.2.0 embedded/v0.2.0 v0.2.0" || len(strings.Fields(added)) != 3 {
				t.Errorf("%v, %s, %v, %s", err, after, tags, added)
			}
			continue
		}
		head, _ := output(dir, "git", "rev-parse", "HEAD")
		if err == nil || head != before || added != "" {
			t.Errorf("%s: %v; it has the tags %q", name, err, added)
		}
	}
}
