package readme

import (
	"os"
	"strings"
	"testing"
)

// Keep the functions in use: they are there to be compiled.
var _ = []any{postgresSQL, postgresPool, mySQL, sqlServer, dnsName, anythingElse, kit, kitWithDatabase}

func TestSnippetsOfREADMEAreCompiled(t *testing.T) {
	t.Parallel()
	source := read(t, "snippets.go")
	blocks := strings.Split(read(t, "../../README.md"), "```go\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("README.md has %d snippets, want 5 or more", len(blocks))
	}
	for _, b := range blocks {
		snippet, _, _ := strings.Cut(b, "```")
		if !strings.Contains(source, snippet) {
			t.Errorf("README.md has a snippet that snippets.go does not:\n%s", snippet)
		}
	}
}

// read returns a file without indentation.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimLeft(line, "\t")
	}
	return strings.Join(lines, "\n")
}
