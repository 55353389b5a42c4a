package cloudsqltest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The map of the kit in CONTRIBUTING.md names each file once.
func TestTheMapOfTheKitIsComplete(t *testing.T) {
	page := string(must(os.ReadFile("../CONTRIBUTING.md")))
	_, page, _ = strings.Cut(page, "\n### The kit\n")
	page, _, _ = strings.Cut(page, "\n## ")
	mapped := regexp.MustCompile(`\w+\.go\b`).FindAllString(page, -1)
	files := must(filepath.Glob("*.go"))
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
	slices.Sort(mapped)
	if !slices.Equal(mapped, files) {
		t.Errorf("the map has\n%v\nthe package has\n%v", mapped, files)
	}
}
