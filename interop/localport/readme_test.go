package localport

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The table names no flag that its program does not have.
func TestTheFlagsOfTheReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	usage := map[string]string{theirs.name: help(t, theirs, "--help"), ours.name: help(t, ours, "proxy", "-h")}
	flag := regexp.MustCompile("(?:^|[` ])(--?[a-z][a-z-]+)")
	found := 0
	_, table, _ := strings.Cut(string(text), "| Auth Proxy | `cloudsqlconn proxy` |")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 4 {
			continue
		}
		for i, program := range []string{theirs.name, ours.name} {
			for _, m := range flag.FindAllStringSubmatch(cells[i+1], -1) {
				if m[1] == "---" {
					continue
				}
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
