#!/usr/bin/env bash
# pgx v5: of the error of a DialFunc that wraps context.DeadlineExceeded, nothing
# but the context's own error is left, neither in the text nor for errors.As. An
# error without a timeout in it is passed on whole.
#
# Seen with github.com/jackc/pgx/v5 v5.12.0, go1.26.8:
#   with a timeout: the cause is found: false
#   without:        the cause is found: true
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOWORK=off
cat >go.mod <<'MOD'
module finding

go 1.26

require github.com/jackc/pgx/v5 v5.12.0
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// cause says what went wrong, and wraps why.
type cause struct{ err error }

func (c *cause) Error() string { return "10.0.0.1 did not answer: " + c.err.Error() }
func (c *cause) Unwrap() error { return c.err }

func main() {
	with, without := found(true), found(false)
	fmt.Printf("with a timeout: the cause is found: %v\nwithout:        the cause is found: %v\n", with, without)
	if with || !without {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}

func found(timeout bool) bool {
	cfg, err := pgx.ParseConfig("host=10.0.0.1 user=app sslmode=disable")
	if err != nil {
		log.Fatal(err)
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if !timeout {
			return nil, &cause{errors.New("no route")}
		}
		<-ctx.Done()
		return nil, &cause{ctx.Err()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = pgx.ConnectConfig(ctx, cfg)
	fmt.Printf("%q\n", err)
	var c *cause
	return errors.As(err, &c)
}
GO
go mod tidy >/dev/null 2>&1
go run .
