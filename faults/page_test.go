package faults_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// README.md has each file of this folder once, and no other.
func TestThePageHasEveryFile(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]int{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) > 4 {
			for i, word := range strings.Split(cells[3], "`") {
				if i%2 == 1 && word != "_test.go" {
					listed[word]++
				}
			}
		}
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, "_test.go")
		if listed[name] != 1 {
			t.Errorf("%s is listed %d times", name, listed[name])
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("there is no %s", name)
	}
}
