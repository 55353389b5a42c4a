package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

// secrets are what no report may name.
var secrets = []string{"my-project", "orders", "app@", "secret-word", "shop", "127."}

// report runs the program against the kit.
func report(t *testing.T, kit *cloudsqltest.Server, tasks []task, a account) (bool, string) {
	t.Helper()
	var out bytes.Buffer
	ok, err := prove(t.Context(), &out, tasks, a, nil, kit.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if strings.Contains(out.String(), s) {
			t.Errorf("the report names %s:\n%s", s, &out)
		}
	}
	return ok, out.String()
}

const name = "my-project:europe-west1:orders"

func TestReportOfPostgreSQL(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, dbtest.PostgreSQL, `CREATE ROLE "app@my-project.iam" LOGIN PASSWORD 'secret-word'`, "CREATE DATABASE shop")
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	proxy := kit.AddInstance(name, db.Instance())
	tasks := []task{{engines[0], name}}
	for title, a := range map[string]account{
		"login with a password": {"app@my-project.iam", "secret-word", "shop"},
		"IAM login":             {"app@my-project.iam.gserviceaccount.com", "", ""},
	} {
		ok, text := report(t, kit, tasks, a)
		if !ok || !strings.Contains(text, "PostgreSQL, "+title) || strings.Count(text, "| ok |") < 12 {
			t.Errorf("%s: %v\n%s", title, ok, text)
		}
	}
	ok, text := report(t, kit, tasks, account{"app@my-project.iam", "wrong", "shop"})
	if ok || !strings.Contains(text, "| login and query | failed |") || !strings.Contains(text, "28P01") {
		t.Errorf("a wrong password: %v\n%s", ok, text)
	}
	proxy.Stop()
	if ok, text := report(t, kit, tasks, account{"app@my-project.iam", "secret-word", "shop"}); ok || !strings.Contains(text, "| TCP | failed |") {
		t.Errorf("an instance that is down: %v\n%s", ok, text)
	}
}

func TestReportOfMySQL(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, dbtest.MariaDB, "CREATE USER 'app'@'%' IDENTIFIED BY 'secret-word'", "CREATE USER 'app'@'localhost'")
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	kit.AddInstance(name, db.Instance())
	for _, a := range []account{{"app", "secret-word", ""}, {"app@my-project.iam.gserviceaccount.com", "", ""}} {
		if ok, text := report(t, kit, []task{{engines[1], name}}, a); !ok || !strings.Contains(text, "| login and query | ok |") {
			t.Errorf("%v\n%s", ok, text)
		}
	}
}
