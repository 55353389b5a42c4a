package readme

import (
	"context"
	"database/sql"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/postgres"
)

func cloudRun(ctx context.Context) error {
	dialer, err := cloudsqlconn.NewDialer(ctx,
		cloudsqlconn.WithLazyRefresh(),
		cloudsqlconn.WithIAMAuthN(true))
	if err != nil {
		return err
	}
	defer dialer.Close()
	connector, err := postgres.NewConnector(dialer, "host=my-project:europe-west1:my-db dbname=shop")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(4) // times the most containers there can be: less than the instance's max_connections
	return db.PingContext(ctx)
}

func lambda(ctx context.Context) error {
	dialer, err := cloudsqlconn.NewDialer(ctx,
		cloudsqlconn.WithLazyRefresh(),
		cloudsqlconn.WithCredentialsFile("federation.json")) // of workload identity federation
	if err != nil {
		return err
	}
	connector, err := postgres.NewConnector(dialer, "host=my-project:europe-west1:my-db user=app password=secret dbname=shop")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector) // once a process, not once a call
	db.SetMaxOpenConns(1)
	db.SetConnMaxIdleTime(time.Minute)
	return db.PingContext(ctx)
}

func job(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	dialer, err := cloudsqlconn.NewDialer(ctx, cloudsqlconn.WithDialTimeout(5*time.Minute))
	if err != nil {
		return err
	}
	defer dialer.Close()
	return dialer.Warmup(ctx, "my-project:europe-west1:my-db")
}
