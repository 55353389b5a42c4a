package sqldriver_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

func TestARefusedIAMLoginIsToldWithTheRightUser(t *testing.T) {
	t.Parallel()
	s := authtest.NewServer("admin", "login")
	defer s.Close()
	const instance = "my-project:europe-west1:my-db"
	known := cloudsqlconn.WithCredentialsJSON(s.ServiceAccount())
	unknown := cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "x"}))
	for name, tt := range map[string]struct {
		creds        cloudsqlconn.Option
		engine, user string
		instance     string
		opts         []cloudsqlconn.DialOption
		want         []string
	}{
		"another user than the credentials'":  {known, sqldriver.Postgres, "me@example.com", instance, nil, []string{authtest.Account, `"app@my-project.iam"`, "built-in user"}},
		"another user of MySQL":               {known, sqldriver.MySQL, "root", instance, nil, []string{authtest.Account, `"app"`}},
		"no e-mail address":                   {unknown, sqldriver.Postgres, "postgres", instance, nil, []string{`"postgres" is none`, "built-in user"}},
		"the right user":                      {known, sqldriver.Postgres, "app@my-project.iam", instance, nil, []string{"--instance=my-db --project=my-project", "roles/cloudsql.instanceUser", "cloudsql.iam_authentication"}},
		"the right user of MySQL":             {known, sqldriver.MySQL, "app", instance, nil, []string{"cloudsql_iam_authentication"}},
		"the right user through SQL Data":     {known, sqldriver.Postgres, "app@my-project.iam", instance, []cloudsqlconn.DialOption{cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataPrefer)}, []string{"roles/cloudsql.instanceUser", "the access token", "WithImpersonation"}},
		"an e-mail address without IAM login": {known, sqldriver.Postgres, "me@example.com", instance, []cloudsqlconn.DialOption{cloudsqlconn.WithIAMAuthN(false)}, []string{"IAM login is off", `"me@example.com"`, "WithIAMAuthN", "cloudsql_iam_authn=true"}},
		"a user who may be right":             {unknown, sqldriver.MySQL, "me", "db.example.com", nil, []string{"--instance=INSTANCE --project=PROJECT"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := cloudsqlconn.NewDialer(context.Background(), tt.creds)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close() }()
			refused := errors.New("refused")
			opts := append([]cloudsqlconn.DialOption{cloudsqlconn.WithIAMAuthN(true)}, tt.opts...)
			err = sqldriver.LoginError(t.Context(), d, tt.instance, tt.engine, tt.user, opts, refused)
			var e *cloudsqlconn.Error
			if !errors.As(err, &e) || !errors.Is(err, refused) || err.Error() != "cloudsqlconn: login "+tt.instance+": refused" {
				t.Fatalf("got %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(e.Hint, want) {
					t.Errorf("hint %q does not tell %q", e.Hint, want)
				}
			}
		})
	}
}
