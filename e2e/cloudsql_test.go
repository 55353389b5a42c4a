package e2e

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// The test in this file connects to real Cloud SQL instances, with Application
// Default Credentials. It runs for an engine if the environment names an
// instance of it; whether it does is the choice of the person who runs the
// tests, so that it is skipped otherwise, in CI too. It changes nothing there.
//
//	CLOUDSQLCONN_E2E_POSTGRES           project:region:instance
//	CLOUDSQLCONN_E2E_POSTGRES_USER      database user, or the e-mail address of an IAM user
//	CLOUDSQLCONN_E2E_POSTGRES_PASSWORD  password; empty: IAM login
//	CLOUDSQLCONN_E2E_POSTGRES_DATABASE  default: postgres
//	CLOUDSQLCONN_E2E_POSTGRES_IP_TYPE   PUBLIC, PRIVATE or PSC; default: whichever the instance has
//
// For MySQL the names begin with CLOUDSQLCONN_E2E_MYSQL, and the database is
// information_schema by default. For example:
//
//	CLOUDSQLCONN_E2E_POSTGRES=shop:europe-west1:orders \
//	CLOUDSQLCONN_E2E_POSTGRES_USER=tester@shop.iam.gserviceaccount.com \
//	go test -run RealInstance -v ./e2e
func TestRealInstanceAnswers(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		variable := "CLOUDSQLCONN_E2E_" + strings.ToUpper(e.name)
		name := os.Getenv(variable)
		if name == "" {
			t.Skipf("%s names no instance", variable)
		}
		who := login{os.Getenv(variable + "_USER"), os.Getenv(variable + "_PASSWORD")}
		database := os.Getenv(variable + "_DATABASE")
		if database == "" {
			database = map[string]string{"postgres": "postgres", "mysql": "information_schema"}[e.name]
		}
		var opts []cloudsqlconn.DialOption
		if s := os.Getenv(variable + "_IP_TYPE"); s != "" {
			ipType, err := cloudsqlconn.ParseIPType(s)
			wantNil(t, err)
			opts = append(opts, cloudsqlconn.WithIPTypes(ipType))
		}
		if who.password == "" {
			opts = append(opts, cloudsqlconn.WithIAMAuthN(true))
		}

		d, err := cloudsqlconn.NewDialer(t.Context())
		wantNil(t, err)
		t.Cleanup(func() { wantNil(t, d.Close()) })
		version, err := d.EngineVersion(t.Context(), name, opts...)
		wantNil(t, err)
		if !strings.HasPrefix(version, strings.ToUpper(e.name)+"_") {
			t.Fatalf("%s is an instance of %s", name, version)
		}
		c, err := e.connector(d, e.dsn(name, who, database), opts...)
		wantNil(t, err)
		db := sql.OpenDB(c)
		t.Cleanup(func() { wantNil(t, db.Close()) })
		for _, conn := range openConns(t, db, 3) {
			wantAnswer(t, conn)
		}
		t.Logf("%s, user %s", version, value[string](t, db, e.currentUser))
	})
}
