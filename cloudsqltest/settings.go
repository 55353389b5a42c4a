package cloudsqltest

import (
	"google.golang.org/api/sqladmin/v1beta4"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// settings is the answer to connectSettings.
func (p *Proxy) settings() *sqladmin.ConnectSettings {
	nodes := p.nodeSettings() // without the lock
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &sqladmin.ConnectSettings{
		Kind:            "sql#connectSettings",
		BackendType:     "SECOND_GEN",
		DatabaseVersion: p.cfg.DatabaseVersion,
		Region:          p.name.Region(),
		ConnectionName:  p.Name(),
		Nodes:           nodes,
		NodeCount:       int64(len(nodes)),
		ServerCaMode:    string(p.cfg.CAMode),
		ServerCaCert:    p.serverCACertLocked(),
		IpAddresses:     []*sqladmin.IpMapping{{Type: "OUTGOING", IpAddress: "127.3.0.1"}},
	}
	s.MdxProtocolSupport = p.cfg.MetadataExchange.protocolSupport()
	s.IpAddresses = append(s.IpAddresses, ipMappings(p.addrs)...)
	s.PscEnabled = p.addrs[cloudsqlconn.PSC] != ""
	s.DnsName, s.DnsNames = dnsNameMappings(p.cfg.DNSNames, p.addrs)
	return s
}

// ipMappings are the IP addresses in the metadata that can be dialled.
func ipMappings(addrs map[cloudsqlconn.IPType]string) (list []*sqladmin.IpMapping) {
	if ip := addrs[cloudsqlconn.PublicIP]; ip != "" {
		list = append(list, &sqladmin.IpMapping{Type: "PRIMARY", IpAddress: ip})
	}
	if ip := addrs[cloudsqlconn.PrivateIP]; ip != "" {
		list = append(list, &sqladmin.IpMapping{Type: "PRIVATE", IpAddress: ip})
	}
	return list
}

// dnsNameMappings are the DNS names in the metadata, and the one that stands in
// the older field for one name only.
func dnsNameMappings(names []string, addrs map[cloudsqlconn.IPType]string) (dnsName string, list []*sqladmin.DnsNameMapping) {
	for _, name := range names {
		list = append(list, &sqladmin.DnsNameMapping{Name: name, ConnectionType: "PUBLIC", DnsScope: "INSTANCE", RecordManager: "CLOUD_SQL_AUTOMATION"})
	}
	if psc := hostKey(addrs[cloudsqlconn.PSC]); psc != "" {
		dnsName = psc + "."
		list = append(list, &sqladmin.DnsNameMapping{Name: dnsName, ConnectionType: "PRIVATE_SERVICE_CONNECT", DnsScope: "INSTANCE", RecordManager: "CUSTOMER"})
	} else if len(names) > 0 {
		dnsName = names[0]
	}
	return dnsName, list
}
