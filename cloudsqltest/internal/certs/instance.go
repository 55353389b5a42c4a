package certs

import (
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"
)

// Config says what the certificates of an instance are like.
type Config struct {
	Form             Form
	CommonName       string          // of the server certificate, in the legacy form: project:instance
	Region           string          // in the server certificate's own DNS name, in the legacy form
	Names            func() []string // the DNS names in the server certificate
	AlterServer      func(*x509.Certificate)
	AlterClient      func(*x509.Certificate)
	ServerCert       *tls.Certificate // if not nil: what the server presents, whatever rotates
	ClientLife       time.Duration    // of client certificates; zero: what is asked for, or an hour
	ClockSkew        time.Duration    // how far the server's clock is ahead
	NoSessionTickets bool
}

// Instance has the CAs and the certificates of one instance. Its methods are safe
// for concurrent use. They call the functions in its Config without a lock.
type Instance struct {
	cfg Config

	mu         sync.Mutex // guards everything below, and what can change of cfg
	serverCAs  int        // how many there have been
	issued     int        // changes of what server certificates are made from
	serverCA   []*Authority
	serverCert tls.Certificate
	clientCA   *Authority
	tls        *tls.Config // for serverCert and clientCA
}

// NewInstance makes the CAs and the server certificate.
func NewInstance(cfg Config) *Instance {
	i := &Instance{cfg: cfg, clientCA: newClientCA()}
	i.RotateServer()
	return i
}

// TLS is how the server speaks TLS from now on.
func (i *Instance) TLS() *tls.Config {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.tls
}

// ServerCAs returns the server's CAs: the one that signs, then the one above it,
// if there is one.
func (i *Instance) ServerCAs() (list []*x509.Certificate) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, a := range i.serverCA {
		list = append(list, a.cert)
	}
	return list
}

// RotateServer makes a new server CA and certificate.
func (i *Instance) RotateServer() {
	i.mu.Lock()
	i.serverCAs++
	number := i.serverCAs
	i.mu.Unlock()
	i.issue(newServerCA(i.cfg.Form, number))
}

// AlterServer makes another server certificate of the same CA, changed by alter
// unless that is nil.
func (i *Instance) AlterServer(alter func(*x509.Certificate)) {
	i.mu.Lock()
	i.cfg.AlterServer = alter
	i.mu.Unlock()
	i.Reissue()
}

// Reissue makes another server certificate of the same CA: its names have
// changed.
func (i *Instance) Reissue() {
	i.mu.Lock()
	i.issued++
	i.mu.Unlock()
	i.issue(nil)
}

// issue makes another server certificate, of another CA unless ca is nil.
func (i *Instance) issue(ca []*Authority) {
	for {
		i.mu.Lock()
		seen, cfg := i.issued, i.cfg
		i.mu.Unlock()
		template := cfg.serverTemplate()
		if cfg.AlterServer != nil {
			cfg.AlterServer(template)
		}
		if i.issueIfSame(seen, ca, template) {
			return
		}
	}
}

// issueIfSame does nothing if what the template is made from has changed.
func (i *Instance) issueIfSame(seen int, ca []*Authority, template *x509.Certificate) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.issued != seen {
		return false
	}
	if ca != nil {
		i.serverCA = ca
	}
	if i.cfg.ServerCert != nil {
		i.serverCert = *i.cfg.ServerCert
	} else {
		i.serverCert = serverCertificate(i.cfg.Form, i.serverCA, template)
	}
	i.resetTLSLocked()
	return true
}

// RotateClient makes a new client CA; certificates of the one before are refused.
func (i *Instance) RotateClient() {
	ca := newClientCA()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clientCA = ca
	i.resetTLSLocked()
}

// resetTLSLocked makes a configuration that shares no session with the one
// before.
func (i *Instance) resetTLSLocked() {
	skew := i.cfg.ClockSkew
	i.tls = &tls.Config{
		MinVersion:             tls.VersionTLS12, // R2DBC speaks no other
		Certificates:           []tls.Certificate{i.serverCert},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              i.clientCA.Pool(),
		Time:                   func() time.Time { return time.Now().Add(skew) },
		SessionTicketsDisabled: i.cfg.NoSessionTickets,
	}
}

// SetClientLife sets the lifetime of client certificates signed from now on.
func (i *Instance) SetClientLife(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cfg.ClientLife = d
}

// AlterClient changes client certificates signed from now on, unless alter is
// nil.
func (i *Instance) AlterClient(alter func(*x509.Certificate)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cfg.AlterClient = alter
}

// SignClient signs a client certificate, with a login token in it unless token is
// empty. The life is what the client asks for; zero means nothing.
func (i *Instance) SignClient(public crypto.PublicKey, token string, life time.Duration) (*x509.Certificate, error) {
	i.mu.Lock()
	ca, alter := i.clientCA, i.cfg.AlterClient
	life = cmp.Or(i.cfg.ClientLife, life, time.Hour)
	i.mu.Unlock()
	now := time.Now()
	template := clientTemplate(token, now.Add(min(life, 0)-time.Minute), now.Add(life))
	if alter != nil {
		alter(template)
	}
	return ca.sign(template, public)
}
