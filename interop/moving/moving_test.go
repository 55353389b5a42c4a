// Package moving moves a program from Google's connector to this library, by the
// tables of MIGRATING.md alone.
package moving

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	google "cloud.google.com/go/cloudsqlconn"
	googlemysql "cloud.google.com/go/cloudsqlconn/mysql/mysql"
	googlepgx "cloud.google.com/go/cloudsqlconn/postgres/pgxv5"
	googlemssql "cloud.google.com/go/cloudsqlconn/sqlserver/mssql"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/mysql"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// What the program imports before and after, for go.mod.
var _ = []any{
	google.NewDialer, googlemysql.RegisterDriver, googlepgx.RegisterDriver, googlemssql.RegisterDriver,
	cloudsqlconn.NewDialer, mysql.RegisterDriver, postgres.RegisterDriver, sqlserver.RegisterDriver,
}

const program = "testdata/shop"

func TestAProgramMovesOverByTheTablesAlone(t *testing.T) {
	t.Parallel()
	imports, renamed, gone := tables(t)
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	files, err := filepath.Glob(program + "/*.go")
	wantNil(t, err)
	lines := 0
	for _, file := range files {
		before, err := os.ReadFile(file)
		wantNil(t, err)
		after := move(string(before), imports, renamed, gone)
		if strings.Contains(after, "cloud.google.com/go/cloudsqlconn") {
			t.Errorf("%s still imports Google's connector", file)
		}
		path, err := filepath.Abs(file)
		wantNil(t, err)
		moved := filepath.Join(t.TempDir(), filepath.Base(file))
		wantNil(t, os.WriteFile(moved, []byte(after), 0o600))
		overlay.Replace[path] = moved
		lines += strings.Count(after, "\n")
	}
	if lines < 150 {
		t.Errorf("the program has %d lines", lines)
	}
	text, err := json.Marshal(overlay)
	wantNil(t, err)
	config := filepath.Join(t.TempDir(), "overlay.json")
	wantNil(t, os.WriteFile(config, text, 0o600))

	t.Run("before", func(t *testing.T) { goTest(t, "cloud.google.com/go/cloudsqlconn") })
	t.Run("after", func(t *testing.T) { goTest(t, "github.com/cloudsqlconn/cloudsqlconn", "-overlay="+config) })
}

// goTest runs the program's tests, which must be of what a connector has for a
// module.
func goTest(t *testing.T, connector string, flags ...string) {
	t.Helper()
	deps := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-f", "{{.ImportPath}}"}, append(flags, "./"+program)...)...)
	list, err := deps.Output()
	wantNil(t, err)
	if !strings.Contains("\n"+string(list), "\n"+connector+"\n") {
		t.Errorf("the program does not import %s", connector)
	}
	if google := "cloud.google.com/go/cloudsqlconn"; connector != google && strings.Contains(string(list), google) {
		t.Errorf("the program still links Google's connector")
	}
	test := exec.CommandContext(t.Context(), "go", append([]string{"test", "-v", "-run=."}, append(flags, "./"+program)...)...)
	out, err := test.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	switch {
	case strings.Contains(string(out), "--- PASS: TestTheShopSellsBooks"):
	case strings.Contains(string(out), "--- SKIP: TestTheShopSellsBooks") && os.Getenv("CI") != "true":
		t.Skipf("the program's test is skipped:\n%s", out)
	default:
		t.Errorf("the program's test has not run:\n%s", out)
	}
}

// move does what the tables say: it replaces imports, and options that have another
// name, and drops those that have no counterpart.
func move(source string, imports, renamed map[string]string, gone []string) string {
	for there, here := range imports {
		source = strings.ReplaceAll(source, "\t"+there+"\n", "\t"+here+"\n")
	}
	for there, here := range renamed {
		source = strings.ReplaceAll(source, "cloudsqlconn."+there+"(", "cloudsqlconn."+here+"(")
	}
	for _, option := range gone {
		source = regexp.MustCompile(`(?m)^\t*cloudsqlconn\.`+option+`\(.*\),\n`).ReplaceAllString(source, "")
	}
	return source
}

// tables returns what MIGRATING.md has for imports and for options that have another
// name, and the options for which it has nothing.
func tables(t *testing.T) (imports, renamed map[string]string, gone []string) {
	t.Helper()
	text, err := os.ReadFile("../../MIGRATING.md")
	wantNil(t, err)
	imports, renamed = map[string]string{}, map[string]string{}
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		there, here := code.FindAllStringSubmatch(cells[1], -1), code.FindStringSubmatch(cells[2])
		switch {
		case len(there) == 1 && here != nil && strings.Contains(here[1], `"github.com/`):
			imports[there[0][1]] = here[1]
		case len(there) == 1 && here != nil && strings.HasPrefix(there[0][1], "With") && strings.TrimSpace(cells[2]) == here[0]:
			renamed[there[0][1]] = here[1]
		case strings.HasPrefix(cells[2], " none"):
			for _, name := range there {
				if strings.HasPrefix(name[1], "With") {
					gone = append(gone, name[1])
				}
			}
		}
	}
	if len(imports) < 4 || len(renamed) < 3 || len(gone) == 0 {
		t.Fatalf("MIGRATING.md has the imports %q, the names %q, and nothing for %q", imports, renamed, gone)
	}
	return imports, renamed, gone
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
