// Command house draws the packages of this module by their imports, and checks that they
// keep to its rules. It writes the picture into CONTRIBUTING.md, between two comments:
//
//	go run ./internal/tools/house
//
// It knows nothing of what the packages do but what their comments say.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string) error {
	h, err := load(dir)
	if err != nil {
		return err
	}
	for _, broken := range h.broken() {
		fmt.Fprintln(os.Stderr, broken)
	}
	file := filepath.Join(dir, page)
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := h.into(string(old))
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}
