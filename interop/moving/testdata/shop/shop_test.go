package shop

import (
	"context"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/dbtest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
)

var config = Config{
	Orders: "my-project:europe-west1:orders", Books: "my-project:europe-west1:books", Accounts: "my-project:europe-west1:accounts",
	User: "app", Password: "secret", Database: "shop",
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newCloud returns a cloud with the shop's instances.
func newCloud(t *testing.T) *cloudsqltest.Server {
	t.Helper()
	cloud := cloudsqltest.NewServer()
	t.Cleanup(cloud.Close)
	cloud.AddInstance(config.Orders, dbtest.New(t, dbtest.PostgreSQL,
		"CREATE ROLE app LOGIN PASSWORD 'secret'", "CREATE DATABASE shop OWNER app", `\connect shop`,
		"CREATE TABLE orders (id serial PRIMARY KEY, account int, book bigint)", "GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
		"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app").Instance())
	cloud.AddInstance(config.Books, dbtest.New(t, dbtest.MariaDB,
		"CREATE DATABASE shop", "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'", "GRANT ALL ON shop.* TO app@'127.0.0.1'",
		"CREATE TABLE shop.books (id bigint PRIMARY KEY AUTO_INCREMENT, title varchar(100))").Instance())
	accounts := &tds.Server{Users: map[string]string{"app": "secret"}, Handle: func(_ context.Context, q tds.Query) (tds.Result, error) {
		result := tds.Result{Columns: []tds.Column{{Name: "known", Type: tds.BigInt}}}
		if len(q.Params) == 1 && q.Params[0].Value == int64(7) {
			result.Rows = [][]any{{1}}
		}
		return result, nil
	}}
	cloud.AddInstance(config.Accounts, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: accounts.Serve})
	return cloud
}

func TestTheShopSellsBooks(t *testing.T) {
	cloud, ctx := newCloud(t), t.Context()
	s, err := Open(ctx, config,
		cloudsqlconn.WithAdminAPIEndpoint(cloud.URL()),
		cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: cloud.Token()})),
		cloudsqlconn.WithDialFunc(cloud.DialContext))
	wantNil(t, err)
	defer s.Close()

	for _, title := range []string{"Book One", "Book Two"} {
		wantNil(t, s.Stock(ctx, config, title))
	}
	for _, title := range []string{"Book Two", "Book One"} {
		wantNil(t, s.Order(ctx, 7, title))
	}
	got, err := s.Orders(ctx, 7)
	if err != nil || !slices.Equal(got, []int64{2, 1}) {
		t.Errorf("got the orders %v, %v", got, err)
	}
	if n, err := s.Count(ctx); err != nil || n != 2 {
		t.Errorf("got %d orders, %v", n, err)
	}
	if err := s.Order(ctx, 8, "Book One"); err == nil || !strings.Contains(err.Error(), "account 8") {
		t.Errorf("an unknown account: got %v", err)
	}
	if err := s.Order(ctx, 7, "Book Three"); err == nil || !strings.Contains(err.Error(), "Book Three") {
		t.Errorf("an unknown book: got %v", err)
	}

	wantNil(t, s.Ping(ctx, config.Orders))
	wantNil(t, s.Close())
	if err := s.Ping(ctx, config.Orders); err == nil || err.Error() != "the shop is closed" {
		t.Errorf("a closed shop: got %v", err)
	}
}
