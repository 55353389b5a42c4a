package cloudsqltest

import (
	"crypto/x509"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/certs"
)

// newCerts makes the CAs and certificates of an instance, whose addresses are
// known.
func (p *EmulatedInstance) newCerts() *certs.Instance {
	return certs.NewInstance(certs.Config{
		Form:             p.cfg.CAMode.form(),
		CommonName:       p.key(),
		Region:           p.name.Region(),
		Names:            p.serverNames,
		AlterServer:      p.cfg.AlterServerCert,
		AlterClient:      p.cfg.AlterClientCert,
		ServerCert:       p.cfg.ServerCert,
		ClientLife:       p.cfg.CertTTL,
		ClockSkew:        p.cfg.ClockSkew,
		NoSessionTickets: p.cfg.NoSessionTickets,
	})
}

func (m CAMode) form() certs.Form {
	switch m {
	case GoogleCAS:
		return certs.GoogleCAS
	case CustomerCAS:
		return certs.CustomerCAS
	}
	return certs.Legacy
}

// serverNames are the DNS names in the server certificate.
func (p *EmulatedInstance) serverNames() (names []string) {
	for _, p := range p.all() {
		names = append(names, p.cfg.DNSNames...)
		if psc := p.Addrs()[cloudsqlconn.PSC]; psc != "" {
			names = append(names, psc)
		}
	}
	return names
}

// RotateServerCA gives the instance a new server CA and certificate.
// Connections stay open; earlier sessions cannot be resumed.
func (p *EmulatedInstance) RotateServerCA() { p.certs.RotateServer() }

// AlterServerCert replaces [Instance].AlterServerCert, and gives the instance a new
// server certificate from the same CA. With nil it is a good one again. Connections
// stay open; earlier sessions cannot be resumed.
func (p *EmulatedInstance) AlterServerCert(alter func(*x509.Certificate)) { p.certs.AlterServer(alter) }

// RotateClientCA gives the instance a new client CA: it refuses the certificates
// signed so far. Connections stay open; earlier sessions cannot be resumed.
func (p *EmulatedInstance) RotateClientCA() { p.certs.RotateClient() }

// SetCertTTL sets the lifetime of client certificates signed from now on, like
// [Instance].CertTTL.
func (p *EmulatedInstance) SetCertTTL(d time.Duration) { p.certs.SetClientLife(d) }

// AlterClientCert replaces [Instance].AlterClientCert for client certificates signed
// from now on. With nil they are good ones again.
func (p *EmulatedInstance) AlterClientCert(alter func(*x509.Certificate)) { p.certs.AlterClient(alter) }

// serverCACert is the serverCaCert of the metadata: a bundle of trust anchors,
// described by the root.
func (p *EmulatedInstance) serverCACert() *sqladmin.SslCert {
	cas := p.certs.ServerCAs()
	root := cas[len(cas)-1]
	bundle := ""
	for _, ca := range cas {
		if !p.cfg.RootAnchorOnly || ca == root {
			bundle += certs.PEM(ca)
		}
	}
	cert := sslCert(root, p.name.Instance(), bundle)
	cert.CommonName = certs.AnchorName(root)
	return cert
}
