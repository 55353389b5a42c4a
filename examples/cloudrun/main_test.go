package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/embedded/pgsqlite"
	"github.com/cloudsqlconn/cloudsqlconn/examples/internal/exampletest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

func wantVisit(t *testing.T, client *http.Client, url string, want int) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(body); got != fmt.Sprintf("visit %d\n", want) {
		t.Errorf("got %q, want visit %d", got, want)
	}
}

func TestCountsVisitsAsItsServiceAccount(t *testing.T) {
	t.Parallel()
	const grants = `CREATE ROLE "app@my-project.iam" LOGIN; GRANT CREATE ON SCHEMA public TO "app@my-project.iam"`
	cloud := exampletest.Postgres(t, grants)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	dsn := "host=my-project:europe-west1:my-db dbname=shop cloudsql_iam_authn=true user=app@my-project.iam.gserviceaccount.com"
	go func() { ended <- run(ctx, listener, dsn, cloud.Options()...) }()
	wantVisit(t, http.DefaultClient, "http://"+listener.Addr().String(), 1)
	wantVisit(t, http.DefaultClient, "http://"+listener.Addr().String(), 2)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Hours without a request, on fake time: no timer calls the Admin API, and the
// next request gets a new certificate by itself.
func TestCallsNobodyBetweenRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, err := pgsqlite.New()
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		cloud := cloudsqltest.NewMemoryServer()
		defer cloud.Close()
		cloud.AddInstance(exampletest.Instance, cloudsqltest.Instance{Handler: db.ServeConn})

		listener := memnet.Listen("service")
		client := &http.Client{Transport: &http.Transport{DialContext: listener.DialContext}}
		defer client.CloseIdleConnections()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, listener, "host="+exampletest.Instance+" user=app", cloud.Options()...) }()

		wantVisit(t, client, "http://service", 1)
		before := len(cloud.Requests())
		time.Sleep(3 * time.Hour) // the certificate is good for one
		if n := len(cloud.Requests()) - before; n != 0 {
			t.Errorf("%d Admin API calls while nobody asked", n)
		}
		wantVisit(t, client, "http://service", 2)
		if n := len(cloud.Requests()) - before; n != 2 {
			t.Errorf("%d Admin API calls for a new certificate, want 2", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSaysWhatToDoWithoutPermission(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), listener, "host="+exampletest.Instance+" user=app", exampletest.Forbid(t).Options()...)
	if err == nil {
		t.Fatal("it serves")
	}
	if got := fmt.Sprint(attrs(err)...); !strings.Contains(got, exampletest.Hint) {
		t.Errorf("got %q", got)
	}
}
