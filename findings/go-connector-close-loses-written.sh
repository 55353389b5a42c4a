#!/usr/bin/env bash
# Google's Cloud SQL connector for Go over SQL Data: what a Write has taken is lost
# when Close follows. Close cancels the stream first, and with it all that has not
# gone out: a driver's last message, the cancellation of a query. Half a second
# later nothing is lost.
#
# The service is the least of one, by Google's own published messages.
#
# Seen with cloud.google.com/go/cloudsqlconn v1.26.0, go1.26.8:
#   Close after the Write:     200 connections, all 8192 bytes have arrived of 3
#   Close half a second later: 20 connections, all 8192 bytes have arrived of 20
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOWORK=off
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	cloud.google.com/go/cloudsqlconn v1.26.0
	cloud.google.com/go/sql v0.3.0
	google.golang.org/grpc v1.84.0
)
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"cloud.google.com/go/sql/apiv1beta4/sqlpb"
	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

const size = 8 << 10

// service counts the streams that bring all that was written.
type service struct{ whole atomic.Int64 }

func (s *service) StreamSqlData(stream sqlpb.SqlDataService_StreamSqlDataServer) error {
	for n := 0; ; {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if n += len(m.GetData().GetData()); n == size {
			s.whole.Add(1)
		}
	}
}

func main() {
	fmt.Println(runtime.Version(), runtime.GOOS)
	endpoint, s := serve()
	dialer, err := cloudsqlconn.NewDialer(context.Background(),
		cloudsqlconn.WithSQLDataEndpoint(endpoint),
		cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token", Expiry: time.Now().Add(time.Hour)})),
		cloudsqlconn.WithBuiltInMetrics(false),
		cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithSQLData()))
	check(err)
	whole := func(what string, n int, pause time.Duration) int64 {
		s.whole.Store(0)
		for range n {
			c, err := dialer.Dial(context.Background(), "p:europe-west1:i")
			check(err)
			if k, err := c.Write(make([]byte, size)); k != size || err != nil {
				log.Fatal(k, err)
			}
			time.Sleep(pause)
			check(c.Close())
		}
		time.Sleep(time.Second)
		fmt.Printf("%s %d connections, all %d bytes have arrived of %d\n", what, n, size, s.whole.Load())
		return s.whole.Load()
	}
	at := whole("Close after the Write:    ", 200, 0)
	later := whole("Close half a second later:", 20, 500*time.Millisecond)
	if at == 200 || later != 20 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}

// serve starts the service, and makes the program trust its certificate.
func serve() (endpoint string, s *service) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	check(os.WriteFile("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(os.Setenv("SSL_CERT_FILE", "ca.pem"))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})))
	s = &service{}
	sqlpb.RegisterSqlDataServiceServer(server, s)
	go func() { log.Fatal(server.Serve(l)) }()
	return fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port), s
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
GO
go mod tidy >/dev/null 2>&1
go list -m cloud.google.com/go/cloudsqlconn
go run .
