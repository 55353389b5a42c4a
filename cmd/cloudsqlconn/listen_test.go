package main

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

// An engine that is not known is taken for PostgreSQL.
func TestEveryEngineListensWhereItsClientsLook(t *testing.T) {
	t.Parallel()
	name, err := socketName("")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range engine.All {
		if e == engine.Postgres {
			continue
		}
		if port := enginePort(string(e) + "_1"); port == enginePort("") {
			t.Errorf("%s listens on PostgreSQL's port, %s", e, port)
		}
		if got, err := socketName(string(e) + "_1"); got == name && err == nil {
			t.Errorf("%s listens on PostgreSQL's socket, %s", e, got)
		}
	}
}
