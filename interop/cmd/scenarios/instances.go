package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// movedTo is where an instance moves: to an address that no other process has.
var movedTo = map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: fmt.Sprintf("127.3.%d.%d", os.Getpid()/250%250, os.Getpid()%250+1)}

// move moves the instance, and returns the addresses that it had before, which
// nobody else takes.
func (w *world) move() (hosts []string) {
	hosts = slices.Collect(maps.Values(w.emulated.Addrs()))
	w.emulated.SetAddrs(movedTo)
	for _, host := range hosts {
		// This is how the kits of other processes see that an address is taken.
		claim, err := net.ListenPacket("udp", net.JoinHostPort(host, "3307"))
		if err != nil {
			panic(arrangement + err.Error())
		}
		w.claims = append(w.claims, claim)
	}
	return hosts
}

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
			w.emulated.Stop()
			w.begin()
			w.series(200, 10*time.Millisecond, dialLimit)
			if w.result.Failed != 200 {
				panic(arrangement + "a Dial worked without an instance")
			}
			w.emulated.Start()
			w.faultOver()
			w.recover()
		},
	},
	{
		name:    "instance moved, old address refuses",
		what:    "Before, one Dial works. Then the instance has another address, and the old one refuses connections.",
		picture: ofInstance,
		run: func(w *world) {
			w.warm()
			w.begin()
			old := w.move()
			w.recover()
			for _, host := range old {
				w.must("a refused connection", func() bool { return refuses(net.JoinHostPort(host, "3307")) })
			}
		},
	},
	{
		name:    "instance moved, old address swallows SYNs",
		what:    "Before, one Dial works. Then the instance has another address, and the old one does not answer.",
		picture: ofInstance,
		idle:    true,
		run: func(w *world) {
			w.warm()
			for _, host := range w.move() {
				if err := swallow(host); err != nil {
					panic(arrangement + err.Error())
				}
			}
			w.begin()
			w.recover()
		},
	},
	{
		name:    "server CA rotated",
		what:    "Before, one Dial works. Then the instance has a server certificate of another CA, which connectSettings knows.",
		picture: ofInstance,
		run: func(w *world) {
			w.warm()
			w.emulated.RotateServerCA() // which takes the kit a while
			w.begin()
			w.recover()
			// Not every client says why it ends a handshake.
			w.must("an unknown CA", func() bool { n := w.emulated.Counts(); return n.Distrusted+n.Failed > 0 })
		},
	},
	{
		name:    "client CA rotated",
		what:    "Before, one Dial works. Then the instance accepts client certificates of another CA only. TLS 1.3 tells the client so at its first Read.",
		picture: ofInstance,
		run: func(w *world) {
			w.warm()
			w.emulated.RotateClientCA() // which takes the kit a while
			w.begin()
			w.recover()
			w.must("a refused client", func() bool { n := w.emulated.Counts(); return n.Rejected+n.Failed > 0 })
		},
	},
	{
		name:     "SAN with a trailing dot",
		what:     "A new client, and its first Dial. The server's certificate has no common name, and a DNS name that ends with a dot.",
		instance: cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{"12ab.34cd.europe-west1.sql.goog."}},
		run:      cold,
	},
	{
		name:     "intermediate in the handshake only",
		what:     "A new client, and its first Dial. connectSettings knows the root CA; the intermediate CA comes with the server's certificate.",
		picture:  ofInstance,
		instance: cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, RootAnchorOnly: true},
		idle:     true,
		run:      cold,
	},
	{
		name:     "two PSC names, the first is not reachable",
		what:     "A new client, and its first Dial, over Private Service Connect. The instance has two PSC names, and its certificate has both; at the one that comes first, connections are refused.",
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
		what:     "By a DNS name, whose TXT record has the instance's name. Before, one Dial works. Then the record names another instance, and a Dial works if it reaches that one. The old instance is still there.",
		picture:  ofInstance,
		settings: settings{dns: true},
		idle:     true,
		run: func(w *world) {
			other := w.add(newInstance, cloudsqltest.Instance{})
			dns := cloudsqltest.NewDNS()
			dns.SetTXT(dnsName, oldInstance)
			server := dns.Listen()
			net.DefaultResolver, w.resolver = server.Resolver(), server.Addr()
			w.name, w.target.Instance = dnsName, dnsName
			w.warm()
			w.begin()
			dns.SetTXT(dnsName, newInstance)
			w.goal = other
			w.recover()
		},
	},
}

// cold is the first Dial of a Dialer.
func cold(w *world) {
	w.begin()
	w.open()
	w.recover()
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
