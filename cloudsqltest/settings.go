package cloudsqltest

import (
	"encoding/json"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/dns"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/reply"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// settings is the answer to connectSettings.
func (p *EmulatedInstance) settings() *sqladmin.ConnectSettings {
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
		ServerCaCert:    p.serverCACert(),
	}
	s.MdxProtocolSupport = p.cfg.MetadataExchange.protocolSupport()
	if list := ipMappings(p.addrs); list != nil || p.addrs[cloudsqlconn.PSC] == "" {
		s.IpAddresses = append([]*sqladmin.IpMapping{{Type: "OUTGOING", IpAddress: "127.3.0.1"}}, list...)
	}
	s.PscEnabled = p.addrs[cloudsqlconn.PSC] != ""
	s.DnsName, s.DnsNames = dnsNameMappings(p.cfg.DNSNames, p.addrs)
	return s
}

// settingsReply is the answer to connectSettings, altered if that was asked for.
func (p *EmulatedInstance) settingsReply() *reply.Reply {
	s := p.settings()
	if p.cfg.AlterSettings == nil {
		return reply.JSON(s)
	}
	fields := map[string]any{}
	must(0, json.Unmarshal(must(json.Marshal(s)), &fields))
	p.cfg.AlterSettings(fields)
	return reply.JSON(fields)
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
// the older field for one name only: there is none there for private services
// access.
func dnsNameMappings(names []string, addrs map[cloudsqlconn.IPType]string) (dnsName string, list []*sqladmin.DnsNameMapping) {
	for _, name := range names {
		one := dnsNameMapping(name)
		list = append(list, one)
		if dnsName == "" && one.ConnectionType != privateServices {
			dnsName = name
		}
	}
	if psc := dns.Key(addrs[cloudsqlconn.PSC]); psc != "" {
		dnsName = psc + "."
		list = append(list, &sqladmin.DnsNameMapping{Name: dnsName, ConnectionType: "PRIVATE_SERVICE_CONNECT", DnsScope: "INSTANCE", RecordManager: "CUSTOMER"})
	}
	return dnsName, list
}

const privateServices = "PRIVATE_SERVICES_ACCESS"

// dnsNameMapping tells what a name is by its last labels, and by the region
// "global", which is that of write endpoints.
func dnsNameMapping(name string) *sqladmin.DnsNameMapping {
	m := &sqladmin.DnsNameMapping{Name: name, ConnectionType: "PUBLIC", DnsScope: "INSTANCE", RecordManager: "CLOUD_SQL_AUTOMATION"}
	host := dns.Key(name)
	switch {
	case strings.HasSuffix(host, ".sql-psa.goog"):
		m.ConnectionType = privateServices
	case strings.HasSuffix(host, ".sql-psc.goog"):
		m.ConnectionType = "PRIVATE_SERVICE_CONNECT"
	}
	if strings.Contains(host, ".global.") {
		m.DnsScope = "CLUSTER"
	}
	return m
}
