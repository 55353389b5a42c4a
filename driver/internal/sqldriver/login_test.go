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
			l := sqldriver.Login{Dialer: d, Options: opts, Instance: tt.instance, Engine: tt.engine, User: tt.user}
			err = l.Refused(t.Context(), refused)
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

func TestARefusedPasswordIsToldWithACommand(t *testing.T) {
	t.Parallel()
	d, err := cloudsqlconn.NewDialer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	const (
		instance = "my-project:europe-west1:my-db"
		about    = " --instance=my-db --project=my-project"
	)
	for _, tt := range []struct {
		engine, user string
		none         bool
		want         []string
		iam          bool // is an idea
	}{
		{sqldriver.Postgres, "app", false, []string{`password of "app" is wrong`, "`gcloud sql users set-password app" + about + " --prompt-for-password`", "`gcloud sql users list" + about + "`"}, false},
		{sqldriver.Postgres, "app", true, []string{`No password was given for "app"`, "set-password app"}, false},
		{sqldriver.Postgres, "me@example.com", false, []string{"IAM login is off", "set-password me@example.com" + about}, true},
		{sqldriver.Postgres, "me@example.com", true, []string{"IAM login is off", "none was given"}, true},
		{sqldriver.MySQL, "app", false, []string{`password of "app" is wrong`, "set-password app --host=%" + about}, true},
		{sqldriver.MySQL, "app", true, []string{"No password was given"}, true},
		{sqldriver.SQLServer, "me@example.com", false, []string{`password of "me@example.com" is wrong`}, false},
		{sqldriver.SQLServer, "a'; rm -r *", false, []string{"set-password USER" + about}, false},
		{sqldriver.SQLServer, "-x", true, []string{"set-password USER" + about}, false},
	} {
		refused := errors.New("refused")
		err := sqldriver.Login{Dialer: d, Instance: instance, Engine: tt.engine, User: tt.user, NoPassword: tt.none}.Refused(t.Context(), refused)
		e, ok := errors.AsType[*cloudsqlconn.Error](err)
		if !ok || e.Op != cloudsqlconn.OpLogin || e.Instance != instance || !errors.Is(err, refused) || strings.Contains(err.Error(), "no password was given") != tt.none {
			t.Fatalf("%+v: got %v", tt, err)
		}
		for _, want := range tt.want {
			if !strings.Contains(e.Hint, want) {
				t.Errorf("%+v: the hint is %q", tt, e.Hint)
			}
		}
		if strings.Contains(e.Hint, "IAM") != tt.iam {
			t.Errorf("%+v: the hint is %q", tt, e.Hint)
		}
	}
}
