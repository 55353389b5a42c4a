package cloudsqltest

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/certs"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// handshake returns nil if it fails, or if it is to be stalled.
func (p *EmulatedInstance) handshake(l *link, config *tls.Config, stall func()) *Conn {
	held := &sockets.Held{Conn: l.raw, Stall: stall}
	tc := tls.Server(held, config)
	if err := tc.Handshake(); err != nil {
		if stall == nil && l.ctx.Err() == nil {
			p.count(p.failure(err))
			p.logInfo("handshake failed", "client", l.raw.RemoteAddr(), "error", err)
		}
		_ = held.Release()
		return nil
	}
	state := tc.ConnectionState()
	p.mu.Lock()
	p.counts.Handshakes++
	if state.DidResume {
		p.counts.Resumed++
	}
	p.mu.Unlock()
	if held.Release() != nil {
		return nil
	}
	return &Conn{Conn: tc, token: certs.LoginToken(state.PeerCertificates[0])}
}

// failure is where a failed handshake is counted.
func (p *EmulatedInstance) failure(err error) *int {
	var untrusted *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &untrusted):
		return &p.counts.Rejected
	case errors.As(err, &op) && op.Op == "remote error":
		return &p.counts.Distrusted
	}
	return &p.counts.Failed
}
