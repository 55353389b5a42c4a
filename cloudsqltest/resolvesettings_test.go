package cloudsqltest_test

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

const (
	instanceDNSName = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql.goog."
	pscDNSName      = "42cfcd3545f4.2imj07zrx20yw.europe-west1.sql-psc.goog."
)

func TestDNSNameLeadsToTheSettingsOfItsInstance(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{DNSNames: []string{instanceDNSName}, Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PSC: pscDNSName}}, func(t *testing.T, c *client) {
		c.s.AddInstance("my-project:europe-west1:other", cloudsqltest.Instance{DNSNames: []string{"other.example.com."}})
		for _, version := range []string{"/sql/v1beta4", "/sql/v1", "/v1"} {
			for _, name := range []string{instanceDNSName, pscDNSName, "42CFCD3545F4.2imj07zrx20yw.europe-west1.SQL.goog."} {
				path := version + "/locations/europe-west1/dns/" + name + ":resolveConnectSettings"
				var got, want struct{ Kind, ConnectionName, Region, DNSName string }
				c.call("GET", path+"?alt=json", nil, &got)
				c.call("GET", instancePath+"/connectSettings", nil, &want)
				if got != want || got.ConnectionName != instanceName || got.DNSName != pscDNSName {
					t.Errorf("%s: got %+v, want %+v", path, got, want)
				}
				requests := c.s.Requests()
				if r := requests[len(requests)-2]; r.Call != cloudsqltest.ResolveConnectSettings || r.Instance != "my-project:my-db" || r.Status != 200 {
					t.Errorf("%s is kept as %+v", path, r)
				}
			}
		}
	})
}

func TestUnknownDNSNamesAreNotFound(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{DNSNames: []string{instanceDNSName}}, func(t *testing.T, c *client) {
		const noInstance = "404 The Cloud SQL instance does not exist. instanceDoesNotExist"
		const notFound = "404 Not Found NOT_FOUND notFound"
		for _, tt := range []struct{ method, path, want string }{
			{"GET", "europe-west1/dns/other." + instanceDNSName + ":resolveConnectSettings", noInstance},
			{"GET", "us-central1/dns/" + instanceDNSName + ":resolveConnectSettings", noInstance},
			{"GET", "europe-west1/dns/" + instanceDNSName[:len(instanceDNSName)-1] + ":resolveConnectSettings", noInstance},
			{"GET", "europe-west1/dns/%2e:resolveConnectSettings", noInstance},
			{"GET", "europe-west1/dns/:resolveConnectSettings", notFound},
			{"POST", "europe-west1/dns/" + instanceDNSName + ":resolveConnectSettings", notFound},
			{"GET", "europe-west1/dns/" + instanceDNSName + "/resolveConnectSettings", notFound},
		} {
			_, body, err := c.send(t.Context(), tt.method, "/sql/v1beta4/locations/"+tt.path, "")
			wantNil(t, err)
			if got := envelope(body); got != tt.want {
				t.Errorf("%s %s: got %s, want %s", tt.method, tt.path, body, tt.want)
			}
			if r := c.s.Requests(); tt.method == "GET" && r[len(r)-1].Instance != "" {
				t.Errorf("%s %s is kept as %+v", tt.method, tt.path, r[len(r)-1])
			}
		}

		resp, err := c.s.Client().Get(c.s.URL() + "/sql/v1beta4/locations/europe-west1/dns/" + instanceDNSName + ":resolveConnectSettings")
		wantNil(t, err)
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("without a token: %s", resp.Status)
		}

		c.s.DeleteInstance(c.p)
		_, body, err := c.send(t.Context(), "GET", "/sql/v1beta4/locations/europe-west1/dns/"+instanceDNSName+":resolveConnectSettings", "")
		wantNil(t, err)
		if got := envelope(body); got != noInstance {
			t.Errorf("after its instance was deleted: %s", body)
		}
	})
}
