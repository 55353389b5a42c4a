package bench

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// bare is crypto/tls with the same certificates and the same verification,
// everything prepared: what a connection costs at least.
type bare struct {
	addr   string
	config *tls.Config
}

// material is what crypto/tls needs to know of an instance.
type material struct {
	Addr       string
	CommonName string // of the server
	Roots      []byte // PEM
	Cert       []byte // of the client, DER
}

// fetchMaterial asks the Admin API, as a connector does.
func fetchMaterial(t target, key *rsa.PrivateKey) (m material, err error) {
	name := strings.Split(t.Instance, ":")
	m.CommonName = name[0] + ":" + name[2]
	for _, m.Addr = range t.Addrs {
		break // all lead to the same place
	}
	var settings struct {
		ServerCaCert struct{ Cert string } //nolint:revive // as the API spells it
	}
	if err := call(t, http.MethodGet, "/connectSettings", nil, &settings); err != nil {
		return m, err
	}
	m.Roots = []byte(settings.ServerCaCert.Cert)
	m.Cert, err = fetchCert(t, key.Public())
	return m, err
}

// fetchCert asks for a client certificate.
func fetchCert(t target, key crypto.PublicKey) ([]byte, error) {
	public, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	var reply struct{ EphemeralCert struct{ Cert string } }
	if err := call(t, http.MethodPost, ":generateEphemeralCert", map[string]string{"public_key": string(text)}, &reply); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(reply.EphemeralCert.Cert))
	if block == nil {
		return nil, errors.New("the client certificate is not PEM")
	}
	return block.Bytes, nil
}

func newBare(t target, key *rsa.PrivateKey) (*bare, error) {
	m, err := fetchMaterial(t, key)
	if err != nil {
		return nil, err
	}
	return bareOf(m, key)
}

func bareOf(m material, key *rsa.PrivateKey) (*bare, error) {
	leaf, err := x509.ParseCertificate(m.Cert)
	if err != nil {
		return nil, err
	}
	cert := tls.Certificate{Certificate: [][]byte{m.Cert}, PrivateKey: key, Leaf: leaf}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(m.Roots)
	return &bare{addr: m.Addr, config: &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // names are checked below
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verify(cs.PeerCertificates, roots, m.CommonName)
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		ClientSessionCache:   tls.NewLRUClientSessionCache(0),
		ServerName:           m.CommonName[strings.LastIndex(m.CommonName, ":")+1:], // the key of its sessions
	}}, nil
}

// verify is the least that a connector must do. A self-issued certificate in
// the handshake is an anchor or of no use: crypto/x509 would try it in vain.
func verify(chain []*x509.Certificate, roots *x509.CertPool, commonName string) error {
	o := x509.VerifyOptions{Roots: roots, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, c := range chain[1:] {
		if bytes.Equal(c.RawIssuer, c.RawSubject) {
			continue
		}
		if o.Intermediates == nil {
			o.Intermediates = x509.NewCertPool()
		}
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	if err == nil && chain[0].Subject.CommonName != commonName {
		err = fmt.Errorf("the server is %s, not %s", chain[0].Subject.CommonName, commonName)
	}
	return err
}

// call calls the Admin API once; path is what follows the instance.
func call(t target, method, path string, in, out any) error {
	name := strings.Split(t.Instance, ":")
	url := fmt.Sprintf("%s/sql/v1beta4/projects/%s/instances/%s%s", t.URL, name[0], name[2], path)
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+t.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (b *bare) Name() string { return bareName }

func (b *bare) Dial(ctx context.Context) (net.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", b.addr)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, b.config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func (b *bare) Close() {}
