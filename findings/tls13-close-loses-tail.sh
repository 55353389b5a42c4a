#!/usr/bin/env bash
# Go's crypto/tls with TLS 1.3: a client with a ClientSessionCache that writes
# 1 MiB, closes its connection and never reads loses what the server has not read
# yet, though every Write and Close returned nil. The server's session tickets lie
# unread in the client's socket, so that closing it resets the connection. With
# SessionTicketsDisabled on the server nothing is lost.
#
# Seen with go1.26.8 on Linux over loopback, the standard library alone:
#   tickets=true: 30 connections, data lost on 30
#   tickets=false: 30 connections, data lost on 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOFLAGS=-mod=mod GOWORK=off
cat >go.mod <<'MOD'
module finding

go 1.26
MOD
cat >main.go <<'GO'
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"runtime"
	"time"
)

const (
	size = 1 << 20
	runs = 30
)

func main() {
	fmt.Println(runtime.Version(), runtime.GOOS)
	with, without := lost(true), lost(false)
	if with == 0 || without != 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}

// lost is how many connections lose data.
func lost(tickets bool) (n int) {
	for range runs {
		if transfer(tickets) < size {
			n++
		}
	}
	fmt.Printf("tickets=%v: %d connections, data lost on %d\n", tickets, runs, n)
	return n
}

// transfer returns how much a slow server gets.
func transfer(tickets bool) int64 {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate()}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: !tickets,
	})
	check(err)
	defer l.Close()
	got := make(chan int64)
	go func() {
		c, err := l.Accept()
		check(err)
		defer c.Close()
		check(c.(*tls.Conn).Handshake())
		time.Sleep(50 * time.Millisecond) // the client is done by then, or waits
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	check(err)
	check(raw.(*net.TCPConn).SetWriteBuffer(4 * size))
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(0)})
	n, err := c.Write(make([]byte, size))
	check(err)
	if n != size {
		log.Fatalf("wrote %d", n)
	}
	check(c.Close())
	return <-got
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
GO
go run .
