package cloudsqltest

import (
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// RotateServerCA gives the instance a new server CA and certificate.
// Connections stay open; earlier sessions cannot be resumed.
func (p *Proxy) RotateServerCA() { p.issue(newServerCA(p.cfg.CAMode, int(p.serverCAs.Add(1)))) }

// AlterServerCert replaces [Instance].AlterServerCert, and gives the instance a new
// server certificate from the same CA. With nil it is a good one again. Connections
// stay open; earlier sessions cannot be resumed.
func (p *Proxy) AlterServerCert(alter func(*x509.Certificate)) {
	p.mu.Lock()
	p.alterServer = alter
	p.mu.Unlock()
	p.reissue()
}

// reissue is for when what certificates are made from has changed.
func (p *Proxy) reissue() {
	p.mu.Lock()
	p.issued++
	p.mu.Unlock()
	p.issue(nil)
}

// issue gives the instance another server certificate, of another CA unless ca
// is nil.
func (p *Proxy) issue(ca []*authority) {
	for {
		p.mu.Lock()
		seen, alter := p.issued, p.alterServer
		p.mu.Unlock()
		template := p.serverTemplate()
		if alter != nil {
			alter(template) // without the lock
		}
		if p.issueIfSame(seen, ca, template) {
			return
		}
	}
}

// issueIfSame does nothing if what the template is made from has changed.
func (p *Proxy) issueIfSame(seen int, ca []*authority, template *x509.Certificate) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.issued != seen {
		return false
	}
	if ca != nil {
		p.serverCA = ca
	}
	if p.cfg.ServerCert != nil {
		p.serverCert = *p.cfg.ServerCert
	} else {
		p.serverCert = p.serverCertificate(p.serverCA, template)
	}
	p.resetTLSLocked()
	return true
}

// RotateClientCA gives the instance a new client CA: it refuses the certificates
// signed so far. Connections stay open; earlier sessions cannot be resumed.
func (p *Proxy) RotateClientCA() {
	ca := newClientCA()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clientCA = ca
	p.resetTLSLocked()
}

// resetTLSLocked makes a configuration that shares no session with the one
// before.
func (p *Proxy) resetTLSLocked() {
	skew := p.cfg.ClockSkew
	p.tls = &tls.Config{
		MinVersion:             tls.VersionTLS12, // R2DBC speaks no other
		Certificates:           []tls.Certificate{p.serverCert},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              p.clientCA.pool(),
		Time:                   func() time.Time { return time.Now().Add(skew) },
		SessionTicketsDisabled: p.cfg.NoSessionTickets,
	}
}

// SetCertTTL sets the lifetime of client certificates signed from now on, like
// [Instance].CertTTL.
func (p *Proxy) SetCertTTL(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.certTTL = d
}

// AlterClientCert replaces [Instance].AlterClientCert for client certificates signed
// from now on. With nil they are good ones again.
func (p *Proxy) AlterClientCert(alter func(*x509.Certificate)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alterClient = alter
}

// signClient signs a client certificate. The life is what the request asks
// for; zero means nothing.
func (p *Proxy) signClient(public crypto.PublicKey, token string, life time.Duration) (*x509.Certificate, error) {
	p.mu.Lock()
	ca, alter := p.clientCA, p.alterClient
	life = cmp.Or(p.certTTL, life, time.Hour)
	p.mu.Unlock()
	now := time.Now()
	template := clientTemplate(token, now.Add(min(life, 0)-time.Minute), now.Add(life))
	if alter != nil {
		alter(template)
	}
	return ca.sign(template, public)
}

// serverCACertLocked is the serverCaCert of the metadata: a bundle of trust
// anchors, described by the root.
func (p *Proxy) serverCACertLocked() *sqladmin.SslCert {
	root := p.serverCA[len(p.serverCA)-1].cert
	bundle := ""
	for _, a := range p.serverCA {
		if !p.cfg.RootAnchorOnly || a.cert == root {
			bundle += pemCertificate(a.cert)
		}
	}
	cert := sslCert(root, p.name.Instance(), bundle)
	cert.CommonName = anchorName(root)
	return cert
}
