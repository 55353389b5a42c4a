package tds_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// link is how go-mssqldb reaches a Server in memory.
type link struct {
	server *tds.Server
	wg     *sync.WaitGroup
}

func (l link) DialContext(context.Context, string, string) (net.Conn, error) {
	client, server := memnet.Pair(memnet.Addr("client:1"), memnet.Addr("server:1433"))
	l.wg.Go(func() { l.server.Serve(server) })
	return client, nil
}

func (link) HostName() string { return "server" }

// open returns a pool of connections to server, made as dsn says.
func open(t *testing.T, server *tds.Server, dsn string) *sql.DB {
	t.Helper()
	cfg, err := msdsn.Parse("server=server;" + dsn)
	wantNil(t, err)
	c := mssql.NewConnectorConfig(cfg)
	wg := &sync.WaitGroup{}
	c.Dialer = link{server, wg}
	db := sql.OpenDB(c)
	t.Cleanup(func() {
		_ = db.Close()
		wg.Wait()
	})
	return db
}

// session returns what the only client has said.
func session(t *testing.T, s *tds.Server) tds.Session {
	t.Helper()
	all := s.Sessions()
	if len(all) != 1 {
		t.Fatalf("%d sessions, want 1", len(all))
	}
	return all[0]
}

// serverTLS is the TLS configuration of a server named "server".
var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"server"},
		NotBefore:    time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
})

// script is a connection on which a client says what it has written down.
type script struct {
	net.Conn
	in bytes.Reader
}

func (c *script) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *script) Write(b []byte) (int, error) { return len(b), nil }
func (c *script) Close() error                { return nil }

// say plays a client that says these bytes.
func say(s *tds.Server, data []byte) {
	c := &script{}
	c.in.Reset(data)
	s.Serve(c)
}
