package sqlserver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

const (
	instance = "my-project:europe-west1:my-db"
	plainDSN = "sqlserver://app:secret@db.invalid?database=shop&cloudsql=" + instance
)

// lookups counts the questions that the process has asked a DNS server.
var lookups atomic.Int64

func TestMain(m *testing.M) {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		lookups.Add(1)
		return nil, errors.New("a test looks up a name")
	}}
	os.Exit(testmain.Run(m))
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newDialer(t testing.TB, opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	t.Helper()
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, d.Close()) })
	return d
}

// open returns a pool of connections through d.
func open(t *testing.T, d *cloudsqlconn.Dialer, dsn string, opts ...cloudsqlconn.DialOption) *sql.DB {
	t.Helper()
	c, err := sqlserver.NewConnector(d, dsn, opts...)
	wantNil(t, err)
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// cloud is an emulated instance, with a SQL Server behind it.
type cloud struct {
	*cloudsqltest.Server
	db       *tds.Server
	emulated *cloudsqltest.EmulatedInstance
	dialer   *cloudsqlconn.Dialer
}

// newCloud returns an instance of which db is the database, in memory.
func newCloud(t *testing.T, db *tds.Server) *cloud {
	t.Helper()
	c := &cloud{Server: cloudsqltest.NewMemoryServer(), db: db}
	t.Cleanup(c.Close)
	c.emulated = c.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: db.Serve})
	c.dialer = newDialer(t, c.Options()...)
	return c
}

// alterSettings changes what the Admin API says of instances from now on.
func (c *cloud) alterSettings(alter func(settings map[string]any)) {
	c.OnRequest = func(r *http.Request) *cloudsqltest.Fault {
		if !strings.HasSuffix(r.URL.Path, "/connectSettings") {
			return nil
		}
		return &cloudsqltest.Fault{Alter: func(body []byte) []byte {
			var settings map[string]any
			if err := json.Unmarshal(body, &settings); err != nil {
				panic(err)
			}
			alter(settings)
			body, err := json.Marshal(settings)
			if err != nil {
				panic(err)
			}
			return body
		}}
	}
}

// trustToo adds a certificate to the instance's server CA.
func (c *cloud) trustToo(cert tls.Certificate) {
	c.alterSettings(func(settings map[string]any) {
		ca := settings["serverCaCert"].(map[string]any)
		var more bytes.Buffer
		_ = pem.Encode(&more, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
		ca["cert"] = strings.TrimSpace(ca["cert"].(string)) + "\n" + more.String()
	})
}

// newCertificate returns a certificate for this common name and these DNS names,
// signed by itself.
func newCertificate(t *testing.T, commonName string, dnsNames ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	wantNil(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: commonName},
		DNSNames:     dnsNames,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	wantNil(t, err)
	return tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}
}
