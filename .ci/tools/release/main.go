// Release makes a release of all modules that others can import, tries it, and
// tags it. It works in a clone: the checkout that it is started in is changed at the
// end only, and only with -tag.
//
//	GOWORK=off go run -C .ci/tools ./release -version v0.2.0 -out /tmp/release
//	GOWORK=off go run -C .ci/tools ./release -version v0.2.0 -out /tmp/release -tag
//
// It refuses a tree with changes, a version that is none or is taken, a changelog
// without unreleased changes, and with -tag a checkout without a branch or without the
// commits that origin has. Then it
//
//  1. dates the changelog and sets the version in dialer.go, in a commit;
//  2. lets nested modules require the new versions in place of their neighbours'
//     folders, in a second commit, which has the tags and is on no branch;
//  3. puts all modules into a module proxy of files, as a tag would, and uses them
//     from there as strangers do: see consumers.go;
//  4. builds the programs, the first of them twice, compares the two, and lists what is
//     in them.
//
// At the end it prints the commands that publish the release, or undo it. Run .ci/run,
// and e2e/prove against real instances, first.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// root is the path of the module at the top.
const root = "github.com/cloudsqlconn/cloudsqlconn"

func main() {
	version := flag.String("version", "", "`version` to release, such as v0.2.0")
	out := flag.String("out", "", "`folder` for the module proxy, the programs and their bills of materials; it must not exist")
	tag := flag.Bool("tag", false, "add the commits and the tags to this checkout; it pushes nothing")
	fast := flag.Bool("fast", false, "leave out what takes long: programs for other machines, bills of materials, the embedded databases")
	flag.Parse()
	if *version == "" || *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if *tag && *fast {
		fmt.Fprintln(os.Stderr, "release: -tag is for what has been tried whole, without -fast")
		os.Exit(2)
	}
	if err := release(*version, *out, *tag, *fast); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func release(version, out string, tag, fast bool) error {
	checkout, err := output("", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	if err := check(checkout, version, out); err != nil {
		return err
	}
	branch := ""
	if tag {
		if branch, err = checkOrigin(checkout, version); err != nil {
			return err
		}
	}
	tree := filepath.Join(out, "tree")
	steps := []struct {
		name string
		do   func() error
	}{
		{"clone", func() error { return clone(checkout, tree) }},
		{"changelog and version", func() error { return date(tree, version, time.Now()) }},
		{"modules", func() error { return publish(tree, version, filepath.Join(out, "proxy")) }},
		{"consumers", func() error { return consume(tree, version, out, fast) }},
		{"programs", func() error { return build(tree, version, out, fast) }},
	}
	for _, s := range steps {
		start := time.Now()
		fmt.Printf("%-22s ", s.name)
		if err := s.do(); err != nil {
			fmt.Println()
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("%4.0f s\n", time.Since(start).Seconds())
	}
	if !tag {
		return nil
	}
	tags, err := adopt(checkout, tree, version)
	if err != nil {
		return err
	}
	list := strings.Join(tags, " ")
	fmt.Printf("\nTo publish:\n\ngit push --atomic origin %s %s\n", branch, list)
	fmt.Printf("\nTo undo, before that:\n\ngit tag -d %s && git reset --keep HEAD~1\n", list)
	return nil
}

// clone clones a checkout, with the settings for commits that it has itself.
func clone(checkout, tree string) error {
	args := []string{"clone", "--quiet", "--shared"}
	if _, err := output(checkout, "git", "var", "GIT_COMMITTER_IDENT"); err != nil {
		// For a try. With -tag, it has been refused.
		args = append(args, "--config", "user.name=release", "--config", "user.email=release@example.com")
	}
	settings, _ := output(checkout, "git", "config", "--local", "--get-regexp", `^(user|gpg|commit)\.`) // fails if there are none
	for setting := range strings.Lines(settings) {
		key, value, _ := strings.Cut(strings.TrimSuffix(setting, "\n"), " ")
		args = append(args, "--config", key+"="+value)
	}
	return run("", nil, "git", append(args, checkout, tree)...)
}

// adopt adds the commit for the branch and the tags of a tree to a checkout, and
// returns the tags. A checkout that has changed in the meantime gets neither.
func adopt(checkout, tree, version string) ([]string, error) {
	list, err := output(tree, "git", "tag", "--points-at", "HEAD")
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"fetch", "--quiet", "--no-tags", tree, branchEnd},
		{"merge", "--quiet", "--ff-only", "FETCH_HEAD"},
		{"fetch", "--quiet", "--tags", tree},
	} {
		if err := run(checkout, nil, "git", args...); err != nil {
			return nil, err
		}
	}
	return strings.Fields(list), nil
}

// check refuses what must not be released.
func check(checkout, version, out string) error {
	if semver.Canonical(version) != version {
		return fmt.Errorf("%q is no version; want one such as v0.2.0", version)
	}
	if err := module.Check(root, version); err != nil {
		return err // such as v2.0.0, for which the modules need other paths
	}
	changed, err := output(checkout, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("the tree has changes:\n%s", changed)
	}
	if taken, _ := output(checkout, "git", "tag", "--list", version, "*/"+version); taken != "" {
		return fmt.Errorf("there is a tag already: %s", taken)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s exists; remove it, or name another folder", out)
	}
	return nil
}

// checkOrigin refuses a checkout that could not be pushed after a release, and
// returns its branch.
func checkOrigin(checkout, version string) (branch string, err error) {
	if branch, err = output(checkout, "git", "symbolic-ref", "--quiet", "--short", "HEAD"); err != nil {
		return "", errors.New("there is no branch to release; check one out")
	}
	if _, err := output(checkout, "git", "var", "GIT_COMMITTER_IDENT"); err != nil {
		return "", err
	}
	refs, err := output(checkout, "git", "ls-remote", "origin", "refs/heads/"+branch, "refs/tags/"+version, "refs/tags/*/"+version)
	if err != nil {
		return "", err
	}
	for ref := range strings.Lines(refs) {
		commit, name, _ := strings.Cut(strings.TrimSpace(ref), "\t")
		if strings.HasPrefix(name, "refs/tags/") {
			return "", fmt.Errorf("origin has %s already", name)
		}
		if err := run(checkout, nil, "git", "merge-base", "--is-ancestor", commit, "HEAD"); err != nil {
			return "", fmt.Errorf("%s of origin has commits that are not here; pull them", branch)
		}
	}
	return branch, nil
}

// branchEnd is where the branch is to go, in the tree.
const branchEnd = "refs/release/branch"

const unreleased = "## [Unreleased]\n"

// versionLine is where the library has its version.
var versionLine = regexp.MustCompile(`(?m)^const version = ".*"$`)

// date makes the unreleased changes those of a version, and commits that, as
// branchEnd.
func date(tree, version string, now time.Time) error {
	number := strings.TrimPrefix(version, "v")
	err := edit(filepath.Join(tree, "CHANGELOG.md"), func(text string) (string, error) {
		before, after, ok := strings.Cut(text, unreleased)
		what, _, _ := strings.Cut(after, "\n## [")
		if !ok || strings.TrimSpace(what) == "" {
			return "", errors.New("nothing is unreleased")
		}
		return before + unreleased + "\n## [" + number + "] - " + now.Format(time.DateOnly) + "\n" + after, nil
	})
	if err != nil {
		return err
	}
	err = edit(filepath.Join(tree, "dialer.go"), func(text string) (string, error) {
		if len(versionLine.FindAllString(text, -1)) != 1 {
			return "", errors.New("no line with the version")
		}
		return versionLine.ReplaceAllLiteralString(text, fmt.Sprintf("const version = %q", number)), nil
	})
	if err != nil {
		return err
	}
	if err := commit(tree, "release "+version); err != nil {
		return err
	}
	return run(tree, nil, "git", "update-ref", branchEnd, "HEAD")
}

// edit replaces the text of a file.
func edit(file string, change func(string) (string, error)) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed, err := change(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return os.WriteFile(file, []byte(changed), 0o644)
}

// commit commits everything, under tags.
func commit(tree, subject string, tags ...string) error {
	if err := run(tree, nil, "git", "add", "--all"); err != nil {
		return err
	}
	if err := run(tree, nil, "git", "commit", "--quiet", "--allow-empty", "-m", subject); err != nil {
		return err
	}
	for _, t := range tags {
		if err := run(tree, nil, "git", "-c", "tag.gpgSign=false", "tag", t); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command, with more in its environment.
func run(dir string, env []string, name string, args ...string) error {
	_, err := outputWith(dir, env, name, args...)
	return err
}

// output returns what a command prints, without white space at its end.
func output(dir, name string, args ...string) (string, error) {
	return outputWith(dir, nil, name, args...)
}

func outputWith(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(os.Environ(), env)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
