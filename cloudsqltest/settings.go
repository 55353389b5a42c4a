package cloudsqltest

import (
	"google.golang.org/api/sqladmin/v1beta4"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// settings is the answer to connectSettings.
func (p *Proxy) settings() *sqladmin.ConnectSettings {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &sqladmin.ConnectSettings{
		Kind:            "sql#connectSettings",
		BackendType:     "SECOND_GEN",
		DatabaseVersion: p.cfg.DatabaseVersion,
		Region:          p.name.Region(),
		ServerCaMode:    string(p.cfg.CAMode),
		ServerCaCert:    p.serverCACertLocked(),
		IpAddresses:     []*sqladmin.IpMapping{{Type: "OUTGOING", IpAddress: "127.3.0.1"}},
	}
	if ip := p.addrs[cloudsqlconn.PublicIP]; ip != "" {
		s.IpAddresses = append(s.IpAddresses, &sqladmin.IpMapping{Type: "PRIMARY", IpAddress: ip})
	}
	if ip := p.addrs[cloudsqlconn.PrivateIP]; ip != "" {
		s.IpAddresses = append(s.IpAddresses, &sqladmin.IpMapping{Type: "PRIVATE", IpAddress: ip})
	}
	for _, name := range p.cfg.DNSNames {
		s.DnsNames = append(s.DnsNames, &sqladmin.DnsNameMapping{Name: name, ConnectionType: "PUBLIC", DnsScope: "INSTANCE", RecordManager: "CLOUD_SQL_AUTOMATION"})
	}
	if psc := hostKey(p.addrs[cloudsqlconn.PSC]); psc != "" {
		s.PscEnabled = true
		s.DnsName = psc + "."
		s.DnsNames = append(s.DnsNames, &sqladmin.DnsNameMapping{Name: psc + ".", ConnectionType: "PRIVATE_SERVICE_CONNECT", DnsScope: "INSTANCE", RecordManager: "CUSTOMER"})
	} else if len(p.cfg.DNSNames) > 0 {
		s.DnsName = p.cfg.DNSNames[0]
	}
	return s
}
