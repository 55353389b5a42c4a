package cloudsqltest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// client is a connector reduced to the minimum, with nothing but net/http and
// crypto/tls: it has no cache, repeats nothing and forgives nothing.
type client struct {
	t *testing.T
	s *cloudsqltest.Server
	p *cloudsqltest.EmulatedInstance
}

func newClient(t *testing.T, s *cloudsqltest.Server, cfg cloudsqltest.Instance) *client {
	return &client{t, s, s.AddInstance(instanceName, cfg)}
}

// instancePath is the path of the instance in the Admin API.
const instancePath = "/sql/v1beta4/projects/my-project/instances/my-db"

// sslCert and settings are what the tests read of the answers.
type sslCert struct {
	Kind, Cert, CertSerialNumber, CommonName, CreateTime, ExpirationTime, Sha1Fingerprint, Instance string
}

type settings struct {
	Kind, BackendType, DatabaseVersion, Region, ServerCaMode, DNSName string

	PscEnabled   bool
	ServerCaCert sslCert
	IPAddresses  []struct{ Type, IPAddress string }
	DNSNames     []struct{ Name, ConnectionType, DNSScope, RecordManager string }
}

// send makes a request with a token and returns the whole answer.
func (c *client) send(ctx context.Context, method, path, body string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.s.URL()+path, bytes.NewReader([]byte(body)))
	wantNil(c.t, err)
	req.Header.Set("Authorization", "Bearer "+c.s.Token())
	resp, err := c.s.Client().Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// call makes a request that must be answered with OK, and decodes the answer.
func (c *client) call(method, path string, body, answer any) {
	c.t.Helper()
	resp, text, err := c.send(c.t.Context(), method, path, string(must(json.Marshal(body))))
	wantNil(c.t, err)
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	wantNil(c.t, json.Unmarshal(text, answer))
}

func (c *client) settings() (s settings) {
	c.t.Helper()
	c.call("GET", instancePath+"/connectSettings", nil, &s)
	return s
}

// certificate asks for a client certificate for clientKey. The further fields
// of the request are in pairs.
func (c *client) certificate(fields ...string) tls.Certificate {
	c.t.Helper()
	return c.certificateFor(clientKey, fields...)
}

func (c *client) certificateFor(key crypto.Signer, fields ...string) tls.Certificate {
	c.t.Helper()
	body := map[string]string{"public_key": publicPEM(key.Public())}
	for i := 0; i < len(fields); i += 2 {
		body[fields[i]] = fields[i+1]
	}
	var answer struct{ EphemeralCert sslCert }
	c.call("POST", instancePath+":generateEphemeralCert", body, &answer)
	leaf := parse(c.t, answer.EphemeralCert.Cert)[0]
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func publicPEM(key crypto.PublicKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key))}))
}

func parse(t *testing.T, text string) (certs []*x509.Certificate) {
	t.Helper()
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return certs
		}
		c, err := x509.ParseCertificate(block.Bytes)
		wantNil(t, err)
		certs = append(certs, c)
	}
}

// config is what a client needs for TLS, by the metadata and with a certificate
// of now. It checks the server's chain and times, but no names.
func (c *client) config() *tls.Config {
	c.t.Helper()
	roots := x509.NewCertPool()
	for _, anchor := range parse(c.t, c.settings().ServerCaCert.Cert) {
		roots.AddCert(anchor)
	}
	return withCertificate(c.certificate(), &tls.Config{
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			chain := x509.NewCertPool()
			for _, c := range state.PeerCertificates[1:] {
				chain.AddCert(c)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: chain, CurrentTime: time.Now()})
			return err
		},
	})
}

// withCertificate makes the client present cert, whatever CA the server wants.
func withCertificate(cert tls.Certificate, config *tls.Config) *tls.Config {
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return config
}

// dial connects to the instance's public address.
func (c *client) dial(ctx context.Context) (net.Conn, error) {
	return c.s.DialContext(ctx, "tcp", net.JoinHostPort(c.p.Addrs()[cloudsqlconn.PublicIP], "3307"))
}

// connect is dial and the handshake.
func (c *client) connect(config *tls.Config) (*tls.Conn, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	raw, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(raw, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	wantNil(c.t, tc.SetDeadline(time.Now().Add(10*time.Second)))
	return tc, nil
}

// mustConnect proves that the connection works, with an echo.
func (c *client) mustConnect(config *tls.Config) *tls.Conn {
	c.t.Helper()
	conn, err := c.connect(config)
	wantNil(c.t, err)
	wantEcho(c.t, conn)
	return conn
}

func wantEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := io.WriteString(conn, "hello")
	wantNil(t, err)
	b := make([]byte, 5)
	_, err = io.ReadFull(conn, b)
	wantNil(t, err)
	if string(b) != "hello" {
		t.Fatalf("echo returned %q", b)
	}
}

func (c *client) wantCounts(want cloudsqltest.Counts) {
	c.t.Helper()
	eventually(c.p.Counts, want)
}

// wantAlert reads from a connection that the server refuses, and checks the
// alert.
func wantAlert(t *testing.T, conn *tls.Conn, want string) {
	t.Helper()
	_, err := conn.Read(make([]byte, 1))
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err.Error() != want {
		t.Errorf("first Read: got %v, want the alert %q", err, want)
	}
}
