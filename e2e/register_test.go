package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// drivers counts the drivers registered, to give each a name: names stay taken.
var drivers atomic.Int64

// registered registers a driver that reaches i, and returns its name.
func registered(t *testing.T, i *instance) (name string, cleanup func() error) {
	t.Helper()
	name = fmt.Sprintf("cloudsql-%s-%d", i.name, drivers.Add(1))
	cleanup, err := i.register(name, i.kit.Options()...)
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, cleanup()) })
	return name, cleanup
}

// openNamed opens the database of i with sql.Open.
func openNamed(t *testing.T, name string, i *instance) *sql.DB {
	t.Helper()
	db, err := sql.Open(name, i.dsn(instanceName, app, i.database))
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, db.Close()) })
	return db
}

func TestRegisteredDriverWorksUntilCleanup(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		name, cleanup := registered(t, i)
		db := openNamed(t, name, i)
		conn, err := db.Conn(t.Context())
		wantNil(t, err)
		defer conn.Close()

		wantNil(t, cleanup())
		wantAnswer(t, conn) // what is open stays open
		_, err = db.Conn(t.Context())
		wantError(t, err, cloudsqlconn.ErrDialerClosed)
		wantNil(t, cleanup())
	})
}

func TestTakenDriverNameIsAnError(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		name, _ := registered(t, i)
		if _, err := e.register(name, i.kit.Options()...); err == nil {
			t.Error("a name could be registered twice")
		}
		wantAnswer(t, openNamed(t, name, i))
	})
}

func TestRegisteredDriverReturnsWhenContextHasEnded(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		name, _ := registered(t, i)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantError(t, openNamed(t, name, i).PingContext(ctx), context.Canceled)
	})
}

func TestContextReachesTheDialOfARegisteredDriver(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t)
		asked := make(chan struct{}, 100)
		i.kit.OnRequest = func(*http.Request) *cloudsqltest.Fault {
			asked <- struct{}{}
			return &cloudsqltest.Fault{Hang: true}
		}
		name, _ := registered(t, i)
		db := openNamed(t, name, i)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := inBackground(func() error { return db.PingContext(ctx) })
		select {
		case <-asked:
		case err := <-ended:
			t.Fatalf("the ping ended too early: %v", err)
		}
		cancel()
		wantError(t, <-ended, context.Canceled)
	})
}
