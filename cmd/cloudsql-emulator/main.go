// Cloudsql-emulator emulates Cloud SQL on this machine: the SQL Admin API, and
// instances that listen on port 3307 of loopback addresses and forward to
// databases. Connectors in any language run against it unchanged, and it makes
// things go wrong on demand.
//
//	cloudsql-emulator -engine postgres -backend auto
//	cloudsql-emulator -config emulator.yaml
//
// README.md has a walk-through, the faults and the control endpoint;
// example.yaml has everything that can be configured. The documentation of package
// cloudsqltest says what is emulated and what is not. The module embedded has the
// same program with databases in it, for the backend embedded.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cloudsqlconn/cloudsqlconn/internal/emulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := emulator.Run(ctx, os.Args[1:], os.Stdout, os.Stderr, nil)
	stop()
	os.Exit(code)
}
