package readme

import (
	"os"
	"strings"
	"testing"
)

// Keep the functions in use: they are there to be compiled.
var _ = []any{postgresSQL, postgresPool, mySQL, sqlServer, dnsName, anythingElse, kit, kitWithDatabase, kitWithPrincipal, cloudRun, lambda, job}

func TestSnippetsAreCompiled(t *testing.T) {
	t.Parallel()
	for page, file := range map[string]string{"README.md": "snippets.go", "RECIPES.md": "recipes.go"} {
		source := read(t, file)
		blocks := strings.Split(read(t, "../../"+page), "```go\n")[1:]
		if len(blocks) < 3 {
			t.Fatalf("%s has %d snippets, want more", page, len(blocks))
		}
		for _, b := range blocks {
			snippet, _, _ := strings.Cut(b, "```")
			if !strings.Contains(source, snippet) {
				t.Errorf("%s has a snippet that %s does not:\n%s", page, file, snippet)
			}
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
