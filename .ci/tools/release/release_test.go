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
	wantRefused(t, check(dir, "v2.0.0", out), "v0 or v1")
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
	ends, err := output(dir, "git", "for-each-ref", "--points-at", "HEAD", "--format=%(refname)", "refs/release", "refs/tags")
	if err != nil || ends != branchEnd {
		t.Errorf("the commit is %s, %v", ends, err)
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

// The sums in go.sum must be those of what the go command makes of the tags.
func TestSumsAreThoseOfTheTags(t *testing.T) {
	dir := checkout(t, map[string]string{
		"LICENSE":      "Do what you like.\n",
		".gitignore":   "*.out\n",
		"go.mod":       "module " + root + "\n",
		"doc.go":       "package doc\n",
		"a/go.mod":     "module " + root + "/a\n\nrequire " + root + " v0.0.0\n\nreplace " + root + " => ../\n",
		"a/go.sum":     "",
		"a/a.go":       "package a\n",
		"ab/b.go":      "package ab\n",
		"bench/go.mod": "module " + root + "/bench\n",
	})
	wantNil(t, os.WriteFile(filepath.Join(dir, "a", "left.out"), []byte("ignored"), 0o644))
	proxy := filepath.Join(t.TempDir(), "proxy")
	wantNil(t, publish(dir, "v0.2.0", proxy))
	list := func(more ...string) string {
		env := append([]string{"GOMODCACHE=" + t.TempDir(), "GOFLAGS=-modcacherw", "GONOSUMDB=*", "GOWORK=off", "GOPRIVATE=", "GONOPROXY=none"}, more...)
		sums, err := outputWith(t.TempDir(), env, "go", "mod", "download", "-json", root+"@v0.2.0", root+"/a@v0.2.0")
		wantNil(t, err)
		var of []string
		for line := range strings.Lines(sums) {
			if strings.Contains(line, `Sum"`) {
				of = append(of, strings.Trim(line, "\t,\n"))
			}
		}
		return strings.Join(of, "\n")
	}
	fromProxy := list("GOPROXY=" + fileURL(proxy))
	fromTags := list("GOPROXY=direct", "GIT_ALLOW_PROTOCOL=file:https", "GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=url."+fileURL(dir)+".insteadOf", "GIT_CONFIG_VALUE_0=https://"+root)
	if fromProxy != fromTags || strings.Count(fromTags, "h1:") != 4 {
		t.Errorf("from the proxy:\n%s\nfrom the tags:\n%s", fromProxy, fromTags)
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
		wantNil(t, clone(dir, tree))
		wantNil(t, date(tree, "v0.2.0", time.Now()))
		wantNil(t, commit(tree, "modules", "v0.2.0", "embedded/v0.2.0"))
		change(dir) // while the release is tried
		before, _ := output(dir, "git", "rev-parse", "HEAD")
		tags, err := adopt(dir, tree, "v0.2.0")
		after, _ := output(dir, "git", "log", "-1", "--format=%s")
		added, _ := output(dir, "git", "tag")
		if name == "" {
			if err != nil || after != "release v0.2.0" || strings.Join(tags, " ") != "embedded/v0.2.0 v0.2.0" || len(strings.Fields(added)) != 2 {
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

func TestCommitsAreMadeAsInTheCheckout(t *testing.T) {
	dir := checkout(t, map[string]string{"CHANGELOG.md": changes, "dialer.go": dialer})
	wantNil(t, run(dir, nil, "git", "config", "user.name", "another"))
	tree := filepath.Join(t.TempDir(), "tree")
	wantNil(t, clone(dir, tree))
	wantNil(t, date(tree, "v0.2.0", time.Now()))
	if who, err := output(tree, "git", "log", "-1", "--format=%an %ae"); err != nil || who != "another t@example.com" {
		t.Errorf("the author is %s, %v", who, err)
	}
}

func TestATryNeedsNoNameForCommits(t *testing.T) {
	dir := checkout(t, map[string]string{"CHANGELOG.md": changes, "dialer.go": dialer})
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	for _, args := range [][]string{{"config", "--unset", "user.name"}, {"config", "--unset", "user.email"}, {"config", "user.useConfigOnly", "true"}} {
		wantNil(t, run(dir, nil, "git", args...))
	}
	tree := filepath.Join(t.TempDir(), "tree")
	wantNil(t, clone(dir, tree))
	wantNil(t, date(tree, "v0.2.0", time.Now()))
	if _, err := checkOrigin(dir, "v0.2.0"); err == nil {
		t.Error("a release without a name for commits")
	}
}

func TestWhatCouldNotBePushedIsRefused(t *testing.T) {
	origin := checkout(t, map[string]string{"CHANGELOG.md": changes})
	dir := filepath.Join(t.TempDir(), "checkout")
	wantNil(t, clone(origin, dir))
	want, err := output(origin, "git", "branch", "--show-current")
	wantNil(t, err)
	if branch, err := checkOrigin(dir, "v0.2.0"); err != nil || branch != want {
		t.Errorf("got %s, %v, want %s", branch, err, want)
	}
	wantNil(t, commit(dir, "not pushed yet"))
	if _, err := checkOrigin(dir, "v0.2.0"); err != nil {
		t.Error(err)
	}
	wantNil(t, run(origin, nil, "git", "tag", "embedded/v0.2.0"))
	_, err = checkOrigin(dir, "v0.2.0")
	wantRefused(t, err, "origin has refs/tags/embedded/v0.2.0 already")
	wantNil(t, commit(origin, "another"))
	_, err = checkOrigin(dir, "v0.3.0")
	wantRefused(t, err, "commits that are not here")
	wantNil(t, run(dir, nil, "git", "checkout", "--quiet", "--detach"))
	_, err = checkOrigin(dir, "v0.3.0")
	wantRefused(t, err, "no branch")
}
