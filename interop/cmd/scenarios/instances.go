package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// movedTo is where an instance moves.
var movedTo = map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.1.99.1"}

// dnsName is a name of the user's own.
const dnsName = "db.example.com"

// PSC names of an instance. The first is not in DNS.
const (
	firstPSC  = "12ab.34cd.europe-west1.sql-psc.goog"
	secondPSC = "psc.example.com"
)

var instanceScenarios = []scenario{
	{
		name: "instance down, then back",
		what: "Before, one Dial works. The instance refuses connections while 200 Dials are made, one every 10 ms, and is back after the last of them. The API calls include those while it was down; the time is from then on.",
		run: func(w *world) {
			w.warm()
			w.proxy.Stop()
			w.begin()
			w.series(200, 10*time.Millisecond, dialLimit)
			if w.result.Failed != 200 {
				panic(arrangement + "a Dial worked without an instance")
			}
			w.result = result{Error: w.result.Error}
			w.proxy.Start()
			w.began = time.Now()
			w.recover(oldInstance)
		},
	},
	{
		name: "instance moved, old address refuses",
		what: "Before, one Dial works. Then the instance has another address, and the old one refuses connections.",
		run: func(w *world) {
			w.warm()
			w.begin()
			w.proxy.SetAddrs(movedTo)
			w.recover(oldInstance)
			w.must("a refused connection", func() bool { return w.proxy.Counts().Refused > 0 })
		},
	},
	{
		name: "instance moved, old address swallows SYNs",
		what: "Before, one Dial works. Then the instance has another address, and the old one does not answer.",
		run: func(w *world) {
			w.warm()
			old := slices.Collect(maps.Values(w.proxy.Addrs()))
			w.begin()
			w.proxy.SetAddrs(movedTo)
			for _, host := range old {
				w.kit.Swallow(host)
			}
			w.recover(oldInstance)
			w.must("a lost SYN", func() bool { return w.proxy.Counts().Swallowed > 0 })
		},
	},
	{
		name: "server CA rotated",
		what: "Before, one Dial works. Then the instance has a server certificate of another CA, which connectSettings knows.",
		run: func(w *world) {
			w.warm()
			w.begin()
			w.proxy.RotateServerCA()
			w.recover(oldInstance)
			w.must("an unknown CA", func() bool { return w.proxy.Counts().Distrusted > 0 })
		},
	},
	{
		name: "client CA rotated",
		what: "Before, one Dial works. Then the instance accepts client certificates of another CA only. TLS 1.3 tells the client so at its first Read.",
		run: func(w *world) {
			w.warm()
			w.begin()
			w.proxy.RotateClientCA()
			w.recover(oldInstance)
			w.must("a refused client", func() bool { n := w.proxy.Counts(); return n.Rejected+n.Failed > 0 })
		},
	},
	{
		name:     "SAN with a trailing dot",
		what:     "NewDialer and the first Dial. The server's certificate has no common name, and a DNS name that ends with a dot.",
		instance: cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"12ab.34cd.europe-west1.sql.goog."}},
		run:      cold,
	},
	{
		name:     "intermediate in the handshake only",
		what:     "NewDialer and the first Dial. connectSettings knows the root CA; the intermediate CA comes with the server's certificate.",
		instance: cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, RootAnchorOnly: true},
		run:      cold,
	},
	{
		name:     "two PSC names, the first is not reachable",
		what:     "NewDialer and the first Dial, with `WithPSC`. The instance has two PSC names, and its certificate has both; at the one that comes first, connections are refused.",
		settings: settings{psc: true},
		instance: cloudsqltest.Instance{
			CAMode:          cloudsqltest.GoogleCAS,
			Addrs:           map[cloudsqlconn.IPType]string{cloudsqlconn.PSC: secondPSC},
			AlterServerCert: func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, firstPSC) },
		},
		run: func(w *world) {
			w.apiCall(cloudsqltest.ConnectSettings, &cloudsqltest.Fault{Alter: addFirstPSC})
			cold(w)
			w.must("a Dial of the first name", func() bool { return w.dialled(firstPSC) })
		},
	},
	{
		name:     "DNS name turned to another instance",
		what:     "With `WithDNSResolver`, and a TXT record with the instance's name. Before, one Dial works. Then the record names another instance, and a Dial works if it reaches that one. The old instance is still there.",
		settings: settings{dns: true},
		run: func(w *world) {
			w.add(newInstance, cloudsqltest.Instance{})
			dns := cloudsqltest.NewDNS()
			dns.SetTXT(dnsName, oldInstance)
			net.DefaultResolver = dns.Listen().Resolver()
			w.name = dnsName
			w.warm()
			w.begin()
			dns.SetTXT(dnsName, newInstance)
			w.recover(newInstance)
		},
	},
}

// cold is the first Dial of a Dialer.
func cold(w *world) {
	w.begin()
	w.open()
	w.recover(oldInstance)
}

// addFirstPSC puts a PSC name before those in connectSettings.
func addFirstPSC(body []byte) []byte {
	var settings map[string]any
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&settings); err != nil {
		panic(arrangement + err.Error())
	}
	names, _ := settings["dnsNames"].([]any)
	first := map[string]any{
		"name":           strings.TrimSuffix(firstPSC, ".") + ".",
		"connectionType": "PRIVATE_SERVICE_CONNECT",
		"dnsScope":       "INSTANCE",
		"recordManager":  "CLOUD_SQL_AUTOMATION",
	}
	settings["dnsNames"] = append([]any{first}, names...)
	altered, err := json.Marshal(settings)
	if err != nil {
		panic(arrangement + err.Error())
	}
	return altered
}
