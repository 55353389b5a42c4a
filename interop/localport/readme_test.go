package localport

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// flagForm is a flag in the table.
var flagForm = regexp.MustCompile("(?:^|[` ])(--?[a-z][a-z-]+)")

// The table names no flag that its program does not have.
func TestTheFlagsOfTheReadme(t *testing.T) {
	t.Parallel()
	usage := map[string]string{theirs.name: help(t, theirs, "--help"), ours.name: help(t, ours, "proxy", "-h")}
	found := 0
	for _, row := range rows(t) {
		for i, program := range []string{theirs.name, ours.name} {
			for _, m := range flagForm.FindAllStringSubmatch(row[i], -1) {
				found++
				if !regexp.MustCompile(`(?m)^ +(-\w, )?(  )?` + regexp.QuoteMeta(m[1]) + `\b`).MatchString(usage[program]) {
					t.Errorf("%s has no %s", program, m[1])
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("%d flags", found)
	}
}

// help returns what a program says of itself.
func help(t *testing.T, p program, args ...string) string {
	t.Helper()
	file, err := p.file()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), file, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// Whatever the table says of a flag or a parameter, some test of this folder gives it
// to its program, but for those that have no counterpart.
func TestEveryFlagOfTheReadmeIsTried(t *testing.T) {
	t.Parallel()
	given := literals(t)
	for _, row := range rows(t) {
		if row[1] == "none" {
			continue
		}
		for _, cell := range row {
			for _, m := range flagForm.FindAllStringSubmatch(cell, -1) {
				if !slices.Contains(given, m[1]) {
					t.Errorf("no test gives %s", m[1])
				}
			}
			for _, m := range regexp.MustCompile(`[?&]([a-z][a-z-]+)\b`).FindAllStringSubmatch(cell, -1) {
				if !slices.ContainsFunc(given, func(s string) bool { return strings.Contains(s, "?"+m[1]) || strings.Contains(s, "&"+m[1]) }) {
					t.Errorf("no test gives the parameter %s", m[1])
				}
			}
		}
	}
}

// literals are the strings that the tests of this folder consist of, but for this file.
func literals(t *testing.T) (texts []string) {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file == "readme_test.go" {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				text, _ := strconv.Unquote(l.Value)
				texts = append(texts, text)
			}
			return true
		})
	}
	return texts
}

// rows are those of the table: what the Auth Proxy has, and ours.
func rows(t *testing.T) (list [][2]string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| Auth Proxy | `cloudsqlconn proxy` |")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) == 4 && !strings.Contains(line, "---") {
			list = append(list, [2]string{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])})
		}
	}
	if len(list) < 18 {
		t.Fatalf("%d rows", len(list))
	}
	return list
}
