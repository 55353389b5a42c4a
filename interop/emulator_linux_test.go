package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/emulator"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

// The instances of the emulator, and who logs in at them.
var printed = []struct {
	name, instance, user, iamUser, query string
}{
	{"postgres", "my-project:europe-west1:postgres", "app", "app@my-project.iam", "select current_user"},
	{"mysql", "my-project:europe-west1:mysql", "app", "app", "select substring_index(user(), '@', 1)"},
	{"sqlserver", "my-project:europe-west1:sqlserver", appUser, "", "select original_login()"},
}

// What the emulator prints for Python and Java was compared with the
// connectors' sources only. Here the lines run as they are, with a query behind
// them; but for the names that stand for a login to a backend of the user's own.
func TestWhatTheEmulatorPrintsRuns(t *testing.T) {
	t.Parallel()
	page := startEmulator(t)
	for _, p := range printed {
		blocks := clientLines(t, page, p.instance)
		run := func(language, text, user string, start func(*testing.T, string) *exec.Cmd) {
			t.Run(language+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				text := strings.NewReplacer("USER", appUser, "PASSWORD", appPassword, "DATABASE", database).Replace(text)
				cmd := start(t, text)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if got := strings.TrimSpace(string(out)); err != nil || got != user {
					t.Fatalf("%s\nis run, and says %q, want %q: %v\n%s", text, got, user, err, &stderr)
				}
			})
		}
		python := blocks["Python"] + fmt.Sprintf(`
cursor = connection.cursor()
cursor.execute(%q)
print(cursor.fetchone()[0])
connection.close()
connector.close()
`, p.query)
		run("python", python, p.user, runPython)
		java := fmt.Sprintf(`
import com.google.auth.oauth2.*;
import com.google.cloud.sql.*;
import java.sql.DriverManager;

public class Printed {
    public static void main(String[] args) throws Exception {
%s
var rows = connection.createStatement().executeQuery(%q);
rows.next();
System.out.println(rows.getString(1));
connection.close();
System.exit(0);
    }
}
`, strings.Replace(blocks["Java"], "DriverManager.getConnection(", "var connection = DriverManager.getConnection(", 1), p.query)
		run("java", java, p.user, runJava)
		if p.iamUser == "" {
			continue
		}
		// As the README has it for IAM login.
		python = freshCredentials + regexp.MustCompile(`user="\w+", password="\w+"`).ReplaceAllLiteralString(python, fmt.Sprintf("user=%q, enable_iam_auth=True", p.iamUser))
		run("python-iam", strings.Replace(python, "credentials=Credentials(", "credentials=Fresh(", 1), p.iamUser, runPython)
		java = regexp.MustCompile(`&user=\w+`).ReplaceAllLiteralString(java, "&enableIamAuth=true&user="+url.QueryEscape(p.iamUser))
		run("java-iam", strings.Replace(java, "&password=app", "", 1), p.iamUser, runJava)
	}
}

// freshCredentials are credentials of a token that can be refreshed.
const freshCredentials = `
import datetime
import google.auth.credentials

class Fresh(google.auth.credentials.Credentials):
    def __init__(self, token):
        super().__init__()
        self.given = token

    def refresh(self, request):
        self.token = self.given
        self.expiry = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(hours=1)

`

func runPython(t *testing.T, text string) *exec.Cmd {
	t.Helper()
	interpreter, err := clients.PythonInterpreter()
	wantInstalled(t, err)
	return exec.CommandContext(t.Context(), interpreter, "-c", text)
}

func runJava(t *testing.T, text string) *exec.Cmd {
	t.Helper()
	path, err := clients.JavaClasses()
	wantInstalled(t, err)
	file := filepath.Join(t.TempDir(), "Printed.java")
	wantNil(t, os.WriteFile(file, []byte(text), 0o600))
	return exec.CommandContext(t.Context(), "java", "-XX:TieredStopAtLevel=1", "-cp", path, file)
}

// startEmulator starts one with an instance of each engine and returns the
// address of its status page.
func startEmulator(t *testing.T) (page string) {
	t.Helper()
	for _, e := range engines { // backend: auto needs the same programs
		e.behind(t, &cloudsqltest.Instance{})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	wantNil(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() {
		wantNil(t, l.Close())
		serving.Wait()
	})
	db := newSQLServer()
	serving.Go(func() { // until l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { db.Serve(c) })
		}
	})
	config := filepath.Join(t.TempDir(), "emulator.yaml")
	wantNil(t, os.WriteFile(config, fmt.Appendf(nil, `
listen: 127.0.0.1:0
control: 127.0.0.1:0
principal: app@my-project.iam.gserviceaccount.com
instances:
  - {name: %q, engine: postgres, backend: auto}
  - {name: %q, engine: mysql, backend: auto}
  - {name: %q, engine: sqlserver, backend: %q}
`, printed[0].instance, printed[1].instance, printed[2].instance, l.Addr()), 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	var log bytes.Buffer
	ended := make(chan int, 1)
	go func() { // until cancel
		code := emulator.Run(ctx, []string{"-config", config}, in, &log, nil)
		_ = in.Close()
		ended <- code
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 || t.Failed() {
			t.Errorf("exit code %d\n%s", code, &log)
		}
	})
	text := make([]byte, 64<<10)
	n, err := out.Read(text)                        // it prints all at once
	go func() { _, _ = io.Copy(io.Discard, out) }() // until in is closed
	if err != nil {
		t.Fatalf("the emulator prints nothing: %v", err)
	}
	match := regexp.MustCompile(`status page +(\S+)`).FindSubmatch(text[:n])
	if match == nil {
		t.Fatalf("there is no status page:\n%s", text[:n])
	}
	return string(match[1])
}

// clientLines returns what is printed for an instance, by the first word of the
// comment above it, which is left out.
func clientLines(t *testing.T, page, instance string) map[string]string {
	t.Helper()
	resp, err := http.Get(page + "/clients?instance=" + instance)
	wantNil(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	wantNil(t, err)
	blocks := map[string]string{}
	for block := range strings.SplitSeq(string(text), "\n\n") {
		comment, lines, _ := strings.Cut(block, "\n")
		language, _, _ := strings.Cut(strings.TrimLeft(comment, "#/ "), ",")
		blocks[language] = lines
	}
	return blocks
}
