package readme

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// top is the folder of the repository.
const top = "../.."

const module = "github.com/cloudsqlconn/cloudsqlconn"

// elsewhere are the commands in Markdown files that are no programs of this
// repository, by how they begin, with what runs them: a step of .ci/run, a test, or
// nothing, and why.
var elsewhere = map[string]struct{ step, test, not string }{
	"go build ./...":         {step: "go vet work"},
	"go test ./...":          {step: "GOWORK=off go -C \"$m\" test ./..."},
	"go test work":           {step: "go test -race -timeout 30m -coverprofile=\"$work/cover\" -coverpkg=./,./internal/... work"},
	"go test -race -count=":  {step: "go test -race"},
	".ci/run":                {step: "set -euo pipefail"},
	"GOWORK=off go run -C .": {step: "./release -version"},
	"findings/":              {not: "findings are run by hand"},
	"git checkout v":         {not: "needs a release"},
	"GOWORK=off GOFLAGS= CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -buildvcs=true -ldflags='-s -w'": {test: ".ci/tools/release/build.go"},

	"go mod tidy": {not: "in the reader's program"},
	"go get ":     {not: "in the reader's program"},
	"go list -deps -test ./... | grep '^cloud.google.com/go/cloudsqlconn'": {not: "in the reader's program"},

	"gcloud ": {not: "needs a project"},
	"docker ": {not: "needs Docker; the image's build is tried by hand"},
	"go install github.com/GoogleCloudPlatform/cloud-sql-proxy/v2@": {not: "interop/ installs a fixed version"},
	"cloud-sql-proxy ":                   {test: "interop"},
	"psql 'host=127.0.0.1":               {test: "interop"},
	"mariadb --protocol=":                {test: "interop"},
	"curl ":                              {test: "internal/emulator/control_linux_test.go"},
	"export CLOUDSQLCONN_EMULATOR_HOST=": {test: "examples/emulator_linux_test.go"},
}

// command is a line of a block of shell.
type command struct{ page, line string }

var (
	blocks  = regexp.MustCompile("(?ms)^```(?:sh|bash|console)\n(.*?)^```$")
	remarks = regexp.MustCompile(`\s+# .*$`)
)

// commands returns those of all pages.
func commands(t *testing.T) (list []command) {
	t.Helper()
	pages := pagesOf(t)
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(top, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks.FindAllSubmatch(text, -1) {
			for line := range strings.Lines(strings.ReplaceAll(string(block[1]), "\\\n", "")) {
				line = strings.TrimSpace(remarks.ReplaceAllString(strings.TrimSpace(line), ""))
				if line != "" && !strings.HasPrefix(line, "#") {
					list = append(list, command{page, line})
				}
			}
		}
	}
	if len(pages) < 10 || len(list) < 20 {
		t.Fatalf("found %d pages with %d commands only", len(pages), len(list))
	}
	return list
}

// pagesOf returns the Markdown files of the repository.
func pagesOf(t *testing.T) (pages []string) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".git" || e.Name() == "node_modules" || e.Name() == "testdata"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			page, err := filepath.Rel(top, path)
			pages = append(pages, filepath.ToSlash(page))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// program is how a command runs a program of this repository: a folder, and arguments.
var program = regexp.MustCompile(`^(?:PROVE_PASSWORD=\S+ )?go run (?:-C (\S+) )?(?:\./|` + module + `/)(\S*?)(?:@latest)?( .*|)$`)

// Each command of each page is one that this repository's programs understand, or is
// run by CI, or cannot be.
func TestCommandsOfMarkdownFiles(t *testing.T) {
	t.Parallel()
	ci, err := os.ReadFile(filepath.Join(top, ".ci/run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands(t) {
		if m := program.FindStringSubmatch(c.line); m != nil {
			if err := understood(filepath.Join(m[1], m[2]), m[3]); err != nil {
				t.Errorf("%s: %s: %v", c.page, c.line, err)
			}
			continue
		}
		known := false
		for beginning, by := range elsewhere {
			if !strings.HasPrefix(c.line, beginning) {
				continue
			}
			known = true
			if by.step != "" && !bytes.Contains(ci, []byte(by.step)) {
				t.Errorf("%s: %s: .ci/run has no %q", c.page, c.line, by.step)
			}
			if _, err := os.Stat(filepath.Join(top, by.test)); by.test != "" && err != nil {
				t.Errorf("%s: %s: %v", c.page, c.line, err)
			}
		}
		if !known {
			t.Errorf("%s: nothing says what runs %s", c.page, c.line)
		}
	}
}

// given are the flags of a command line, outside of quotes.
var (
	given  = regexp.MustCompile(`(?:^| )--?([a-z][a-z0-9-]*)`)
	quoted = regexp.MustCompile(`'[^']*'|"[^"]*"`)
)

// understood reports whether the program in a folder has all flags of a command line.
func understood(folder, args string) error {
	var sub []string
	if folder == "cmd/cloudsqlconn" {
		sub = strings.Fields(args)[:1]
	}
	help, err := helpOf(folder, sub...)
	if err != nil {
		return err
	}
	for _, flag := range given.FindAllStringSubmatch(quoted.ReplaceAllString(args, ""), -1) {
		if !regexp.MustCompile(`(?m)^\s*-` + flag[1] + `\b`).MatchString(help) {
			return fmt.Errorf("there is no flag -%s", flag[1])
		}
	}
	return nil
}

// built has the programs that were built, by folder.
var built sync.Map

// helpOf is what a program says to -h, which must be no failure.
func helpOf(folder string, sub ...string) (string, error) {
	build, _ := built.LoadOrStore(folder, sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "help-")
		if err != nil {
			return "", err
		}
		file := filepath.Join(dir, "program.exe")
		cmd := exec.Command("go", "build", "-o", file, "./"+folder)
		cmd.Dir, cmd.Env = top, inWorkspace()
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return file, nil
	}))
	file, err := build.(func() (string, error))()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(file, append(slices.Clone(sub), "-h")...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%v -h: %w: %s", sub, err, out)
	}
	return string(out), err
}

// inWorkspace is the environment of a command that sees all modules, even if this
// module is tested by itself.
func inWorkspace() []string { return append(os.Environ(), "GOWORK=") }

func TestMain(m *testing.M) {
	code := m.Run()
	for _, build := range built.Range {
		if file, err := build.(func() (string, error))(); err == nil {
			_ = os.RemoveAll(filepath.Dir(file))
		}
	}
	os.Exit(code)
}

// Whoever asks a program for help has made no mistake.
func TestHelpOfEveryProgramIsNoFailure(t *testing.T) {
	t.Parallel()
	if os.Getenv("CI") != "true" {
		t.Skip("builds all programs, which takes minutes; CI=true makes it run")
	}
	cmd := exec.Command("go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "work")
	cmd.Dir, cmd.Env = top, inWorkspace()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	programs := strings.Fields(string(out))
	if len(programs) < 10 {
		t.Fatalf("found the programs %v only", programs)
	}
	for _, p := range programs {
		if strings.Contains(p, "/internal/") || strings.HasSuffix(p, "/examples/cloudrun") { // which takes no arguments
			continue
		}
		help, err := helpOf(strings.TrimPrefix(p, module+"/"))
		if err != nil || !strings.Contains(strings.ToLower(help), "usage") {
			t.Errorf("%s: %v\n%s", p, err, help)
		}
	}
}
