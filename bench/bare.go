package bench

import (
	"bytes"
	"context"
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

func newBare(t target, key *rsa.PrivateKey) (*bare, error) {
	name := strings.Split(t.Instance, ":")
	project, instance := name[0], name[2]
	var settings struct {
		ServerCaCert struct{ Cert string } //nolint:revive // as the API spells it
	}
	base := fmt.Sprintf("%s/sql/v1beta4/projects/%s/instances/%s", t.URL, project, instance)
	if err := call(t, http.MethodGet, base+"/connectSettings", nil, &settings); err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	var reply struct{ EphemeralCert struct{ Cert string } }
	if err := call(t, http.MethodPost, base+":generateEphemeralCert", map[string]string{"public_key": string(text)}, &reply); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(reply.EphemeralCert.Cert))
	if block == nil {
		return nil, errors.New("the client certificate is not PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	cert := tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: leaf}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(settings.ServerCaCert.Cert))
	addr := ""
	for _, addr = range t.Addrs {
		break // all lead to the same place
	}
	return &bare{addr: addr, config: &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // names are checked below
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verify(cs.PeerCertificates, roots, project+":"+instance)
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		ClientSessionCache:   tls.NewLRUClientSessionCache(0),
		ServerName:           instance, // the key of its sessions
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

// call calls the Admin API once.
func call(t target, method, url string, in, out any) error {
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
