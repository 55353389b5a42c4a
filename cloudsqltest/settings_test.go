package cloudsqltest_test

import (
	"encoding/json"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

const writeEndpoint = "0a1b2c3d4e5f.1abcdefghijk2.global.sql-psa.goog."

// The kit gave instances with nothing but a PSC name an outgoing address, which
// real ones do not have.
func TestPSCOnlyInstancesHaveNoIPAddresses(t *testing.T) {
	cfg := cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PSC: "db.psc.example"}}
	inMemory(t, cfg, func(t *testing.T, c *client) {
		var fields map[string]json.RawMessage
		c.call("GET", instancePath+"/connectSettings", nil, &fields)
		if _, there := fields["ipAddresses"]; there || string(fields["dnsName"]) != `"db.psc.example."` {
			t.Errorf("got %s", fields)
		}
	})
}

// An instance with private services access has names in dnsNames alone.
func TestNamesOfPrivateServicesAccessAreNotInTheOlderField(t *testing.T) {
	const own = "0a1b2c3d4e5f.1abcdefghijk2.europe-west1.sql-psa.goog."
	inMemory(t, cloudsqltest.Instance{CAMode: cloudsqltest.GoogleCAS, DNSNames: []string{own, writeEndpoint}}, func(t *testing.T, c *client) {
		s := c.settings()
		if s.DNSName != "" || len(s.DNSNames) != 2 {
			t.Fatalf("dnsName %q, dnsNames %+v", s.DNSName, s.DNSNames)
		}
		for i, scope := range []string{"INSTANCE", "CLUSTER"} {
			if n := s.DNSNames[i]; n.ConnectionType != "PRIVATE_SERVICES_ACCESS" || n.DNSScope != scope {
				t.Errorf("got %+v, want the scope %s", n, scope)
			}
		}
	})
}

func TestAlterSettingsGivesFieldsThatTheKitDoesNotKnow(t *testing.T) {
	cfg := cloudsqltest.Instance{AlterSettings: func(fields map[string]any) {
		fields["ipAddresses"].([]any)[0].(map[string]any)["timeToRetire"] = "2026-12-01T00:00:00Z"
		fields["customSubjectAlternativeNames"] = []string{"db.acme.example"}
	}}
	inMemory(t, cfg, func(t *testing.T, c *client) {
		var got struct {
			IPAddresses                   []struct{ TimeToRetire string }
			CustomSubjectAlternativeNames []string
		}
		c.call("GET", instancePath+"/connectSettings", nil, &got)
		if len(got.IPAddresses) == 0 || got.IPAddresses[0].TimeToRetire == "" || len(got.CustomSubjectAlternativeNames) != 1 {
			t.Errorf("got %+v", got)
		}
	})
}
