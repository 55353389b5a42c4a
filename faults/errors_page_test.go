package faults_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

const errorsPage = "../ERRORS.md"

// pageHead begins the page.
const pageHead = `# What went wrong

Every failure that this library knows, by the step that failed: what the error says, what it means, what to do about it.
The examples are of the instance ` + "`my-project:europe-west1:my-db`" + `. Look for the part of your message that follows the
instance's name; addresses, times and names differ. In a program, ` + "`cloudsqlconn.Hint(err)`" + ` returns the remedy, and
` + "`cloudsqlconn check INSTANCE`" + ` prints it for each hop.

This page is made from ` + "`faults/testdata/errors.golden`" + ` by ` + "`go test -run TestErrorsSay ./faults -update`" + `, which makes each of
these failures happen.
`

// pageParts are the sections of the page, by the first word of a case's name.
var pageParts = []struct{ hop, title, intro string }{
	{"configure", "Options", "`NewDialer`, a Dial with options of its own, or a package under `driver/` refuses what it was given. Nothing has been sent."},
	{"resolve", "The name", "What was passed to Dial does not lead to an instance."},
	{"token", "Access tokens", "The Admin API is called with an access token, and there is none."},
	{"refresh", "The Admin API", "The instance's metadata, or a client certificate, could not be had."},
	{"dial", "The network", "No TCP connection to the instance could be opened."},
	{"handshake", "TLS", "The connection stands, but what answers has not proved to be the instance."},
	{"read", "The first bytes", "The connection was made, and the server ended it before it said anything, or the Dialer did."},
	{"login", "The login", "The packages under `driver/` say what to do where the database refuses the user, the password or the name of the database.\nThe examples are PostgreSQL's; MySQL's errors are 1045, 1044 and 1049, and those of SQL Server 18456 and 4060. `errors.As`\nfinds the driver's own error. Other refusals are the database's own, and are passed on without a hint."},
	{"stream", "SQL Data", "With `WithSQLData`: the stream could not be opened, or was lost."},
	{"", "`context deadline exceeded`, and nothing else", "A pool of pgx connects in the background. If the context of a query ends while it does, pgxpool returns that context's error:\nwithout a reason, without a hint, and not as an `*Error`. The connecting goes on, and what it ends with is lost.\n\nHave it end before the deadlines of queries: with `connect_timeout` in the data source name, in seconds, or with\n`WithDialTimeout`. The query then fails with the reason, and `cloudsqlconn.Hint` finds the hint. database/sql connects with\nthe context of the query, and needs neither."},
}

// makePage returns the page for a golden file.
func makePage(golden string) string {
	var b strings.Builder
	b.WriteString(pageHead)
	for _, part := range pageParts {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", part.title, part.intro)
		for entry := range strings.SplitSeq(golden, "## ") {
			if name, ok := strings.CutPrefix(entry, part.hop+": "); ok {
				b.WriteString(pageEntry(name))
			}
		}
	}
	return b.String()
}

// pageEntry is one failure.
func pageEntry(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	message := strings.TrimPrefix(lines[1], "error: ")
	remedy := strings.TrimSpace(strings.TrimPrefix(lines[2], "hint:"))
	if remedy == "" {
		remedy = "There is nothing to add to the message."
	}
	is := strings.TrimPrefix(lines[3], "is:    ")
	found := "`" + strings.ReplaceAll(is, ", ", "`, `") + "`"
	if is == "nothing else" {
		found = "no more than the `*Error`"
	}
	code, more, _ := strings.Cut(strings.TrimPrefix(lines[4], "code:  "), ", ")
	told := "its Code is `" + code + "`"
	if reason, ok := strings.CutPrefix(more, "reason "); ok {
		reason, more, _ = strings.Cut(reason, ", ")
		told += ", its Reason `" + reason + "`"
	}
	if wait, ok := strings.CutPrefix(more, "again after "); ok {
		told += ", its RetryAfter " + wait
	}
	name := []rune(lines[0])
	name[0] = unicode.ToUpper(name[0])
	return fmt.Sprintf("\n### %s\n\n```text\n%s\n```\n\n%s\n\n`errors.Is` and `errors.As` find %s; %s.\n", string(name), message, remedy, found, told)
}

// wantPage checks that the page is the golden file's. -update writes it anew.
func wantPage(t *testing.T, golden string) {
	t.Helper()
	got := makePage(golden)
	if told, shown := strings.Count(golden, "## "), strings.Count(got, "\n### "); told != shown {
		t.Errorf("the page has %d failures, the golden file %d", shown, told)
	}
	if *update {
		if err := os.WriteFile(errorsPage, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(errorsPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); diff != "" {
		t.Errorf("%s (-) differs from the golden file (+):\n%s", errorsPage, diff)
	}
}
