#!/bin/sh
# go-mssqldb returns seconds after the end of a query's context when the server
# has gone silent: it sends an attention packet and waits 5 s for the answer.
# The server here lets everybody in and answers no query. About 6 s.
set -eu
version=v1.11.2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	_ "github.com/microsoft/go-mssqldb"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// read reads a packet of TDS, which is a whole message here.
func read(c net.Conn) (kind byte, err error) {
	header := make([]byte, 8)
	if _, err := io.ReadFull(c, header); err != nil {
		return 0, err
	}
	_, err = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint16(header[2:]))-8)
	return header[0], err
}

func reply(c net.Conn, b ...byte) {
	_, err := c.Write(append([]byte{4, 1, 0, byte(8 + len(b)), 0, 0, 1, 0}, b...))
	check(err)
}

func serve(c net.Conn, attention chan<- time.Time) {
	_, err := read(c)
	check(err)
	reply(c, 1, 0, 6, 0, 1, 0xff, 2) // PRELOGIN: no encryption
	_, err = read(c)
	check(err)
	reply(c, 0xad, 10, 0, 1, 0x74, 0, 0, 4, 0, 16, 0, 0, 0, // LOGINACK: TDS 7.4, no name
		0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // DONE
	for {
		kind, err := read(c)
		if err != nil {
			return
		}
		if kind == 6 {
			attention <- time.Now()
		}
	}
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	attention := make(chan time.Time, 1)
	go func() {
		c, err := l.Accept()
		check(err)
		serve(c, attention)
	}()
	db, err := sql.Open("sqlserver", fmt.Sprintf("sqlserver://sa:secret@%v?encrypt=disable", l.Addr()))
	check(err)
	conn, err := db.Conn(context.Background())
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	end, _ := ctx.Deadline()
	_, err = conn.ExecContext(ctx, "select 1")
	late := time.Since(end)
	fmt.Printf("The context ended after 1 s. ExecContext returned %.1f s later: %v\n", late.Seconds(), err)
	fmt.Printf("errors.Is(err, context.DeadlineExceeded): %v\n", errors.Is(err, context.DeadlineExceeded))
	select {
	case at := <-attention:
		fmt.Printf("The server heard of the cancellation %.1f s after the end of the context.\n", at.Sub(end).Seconds())
	default:
		check(errors.New("changed: the server heard no attention packet"))
	}
	if late < 4*time.Second {
		check(errors.New("changed: the call ends soon after its context"))
	}
}
GO
cat >go.mod <<MOD
module finding

go 1.25.0

require github.com/microsoft/go-mssqldb $version
MOD
export GOWORK=off
go mod tidy 2>log || { cat log >&2; exit 1; }
echo "go-mssqldb $(go list -m -f '{{.Version}}' github.com/microsoft/go-mssqldb)"
go run .
