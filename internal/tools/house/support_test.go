package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What SUPPORT.md promises is what go.mod requires and CI tests.
func TestTheOldestGoReleaseIsTestedAndTold(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	required := regexp.MustCompile(`(?m)^go (\d+\.\d+)`)
	oldest := required.FindStringSubmatch(read("go.mod"))[1]
	for name, want := range map[string]string{
		"SUPPORT.md":               "The Go release in `go.mod`, which is " + oldest + ",",
		"README.md":                "nothing but Go " + oldest + " installed",
		".github/workflows/ci.yml": "go: ['" + oldest + "', stable]",
	} {
		if !strings.Contains(read(name), want) {
			t.Errorf("%s lacks %q", name, want)
		}
	}
}
