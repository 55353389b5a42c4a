package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strings"
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

// As libraries open it that know nothing of the Dialer, GORM's dialector among
// them.
func TestTheDriverNamedMySQLConnectsByARegisteredName(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata})
		name, cleanup := registered(t, i)
		db, err := sql.Open("mysql", fmt.Sprintf("app:secret@%s(%s)/%s", name, instanceName, i.database))
		wantNil(t, err)
		defer db.Close()
		db.SetMaxIdleConns(-1)
		wantAnswer(t, db)
		if n := i.emulated.Accepted(); n != 1 {
			t.Errorf("%d connections to the instance, want 1", n)
		}
		wantNil(t, cleanup())
		if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown network") {
			t.Errorf("after cleanup: got %v", err)
		}
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
