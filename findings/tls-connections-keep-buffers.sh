#!/usr/bin/env bash
# Go's crypto/tls: the buffer into which a connection reads is kept for its life,
# as large as it ever was, and how large that is depends on how the network cuts
# the stream. An idle client that has once read records of 16 KiB holds nearly 40 KiB
# more than after its handshake, and 31 KiB if what is below returns no more than a
# record at a time.
#
# Seen with go1.26.8 on Linux over loopback, the standard library alone, live heap
# for each of 300 idle connections, the server's end included:
#   as it comes: 14258 bytes after the handshake, 39159 more after 256 KiB
#   a record at a time: 13817 bytes after the handshake, 30976 more after 256 KiB
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
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"runtime"
)

const (
	conns = 300
	size  = 256 << 10
)

func main() {
	fmt.Println(runtime.Version(), runtime.GOOS)
	all := heap("as it comes", func(c net.Conn) net.Conn { return c })
	one := heap("a record at a time", func(c net.Conn) net.Conn { return &byRecord{Conn: c} })
	if all < 24<<10 || one < 24<<10 || one >= all {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}

// heap returns by how many bytes the live heap of a client grows that reads much.
func heap(how string, below func(net.Conn) net.Conn) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer l.Close()
	go serve(l)
	before := live()
	var list []*tls.Conn
	for range conns {
		raw, err := net.Dial("tcp", l.Addr().String())
		check(err)
		c := tls.Client(below(raw), &tls.Config{InsecureSkipVerify: true})
		check(c.Handshake())
		list = append(list, c)
	}
	shaken := live()
	buf := make([]byte, 64<<10)
	for _, c := range list {
		_, err := c.Write([]byte{1}) // ask for it
		check(err)
		for n := 0; n < size; {
			m, err := c.Read(buf)
			check(err)
			n += m
		}
	}
	after := live()
	fmt.Printf("  %s: %d bytes after the handshake, %d more after %d KiB\n", how, (shaken-before)/conns, (after-shaken)/conns, size>>10)
	for _, c := range list {
		c.Close()
	}
	return (after - shaken) / conns
}

// byRecord returns no more than what is left of the record.
type byRecord struct {
	net.Conn
	head []byte
	left int
}

func (c *byRecord) Read(b []byte) (int, error) {
	if c.left > 0 {
		n, err := c.Conn.Read(b[:min(len(b), c.left)])
		c.left -= n
		return n, err
	}
	n, err := c.Conn.Read(b[:5-len(c.head)])
	if c.head = append(c.head, b[:n]...); len(c.head) == 5 {
		c.left, c.head = int(binary.BigEndian.Uint16(c.head[3:])), c.head[:0]
	}
	return n, err
}

// serve sends much to each client that asks. What it keeps for that is no more than
// after the handshake: it reads a byte.
func serve(l net.Listener) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true}
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			c := tls.Server(raw, config)
			defer c.Close()
			b := make([]byte, 1)
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			_, _ = c.Write(make([]byte, size))
			_, _ = c.Read(b)
		}()
	}
}

func live() int {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
GO
go run .
