package interop

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	peer "cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
)

// Google's clients find Application Default Credentials at the emulator's
// metadata server, for IAM login, too: only the API's address is told to them. It
// does not run beside others, since it changes the environment.
func TestGooglesClientsTakeTheEmulatorsMetadataServer(t *testing.T) {
	page := startEmulator(t)
	p := printed[0]
	api := regexp.MustCompile(`sqladmin_api_endpoint="([^"]+)"`).FindStringSubmatch(clientLines(t, page, p.instance)["Python"])
	if api == nil {
		t.Fatal("the lines for Python have no endpoint")
	}
	host := strings.TrimPrefix(page, "http://")
	t.Setenv("GCE_METADATA_HOST", host)
	t.Setenv("GCE_METADATA_IP", host)
	t.Setenv("HOME", t.TempDir()) // no other credentials are found
	t.Setenv("CLOUDSDK_CONFIG", t.TempDir())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")

	t.Run("go", func(t *testing.T) {
		d, err := peer.NewDialer(t.Context(), peer.WithAdminAPIEndpoint(api[1]), peer.WithIAMAuthN(), peer.WithBuiltInMetrics(false))
		wantNil(t, err)
		defer d.Close()
		cfg, err := pgx.ParseConfig("host=" + net.IPv4zero.String() + " dbname=app sslmode=disable user=" + p.iamUser)
		wantNil(t, err)
		cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx, p.instance) }
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		wantNil(t, err)
		defer conn.Close(t.Context())
		var user string
		if err := conn.QueryRow(t.Context(), p.query).Scan(&user); err != nil || user != p.iamUser {
			t.Errorf("got %q, %v", user, err)
		}
	})
	t.Run("python", func(t *testing.T) {
		cmd := runPython(t, fmt.Sprintf(`
from google.cloud.sql.connector import Connector
connector = Connector(sqladmin_api_endpoint=%q)
connection = connector.connect(%q, "pg8000", user=%q, db="app", enable_iam_auth=True)
cursor = connection.cursor()
cursor.execute(%q)
print(cursor.fetchone()[0])
connection.close()
connector.close()
`, api[1], p.instance, p.iamUser, p.query))
		out, err := cmd.CombinedOutput()
		if lines := strings.Fields(string(out)); err != nil || len(lines) == 0 || lines[len(lines)-1] != p.iamUser {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
