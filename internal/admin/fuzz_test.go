package admin_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// addReplies seeds a fuzz target with what is wrong with replies in general.
func addReplies(f *testing.F, replies ...string) {
	for _, r := range append(replies, "", "null", "{}", "[]", "0", `""`, "{", htmlPage, "server error", "\x00\xff",
		errorJSON(403, "no"), `{"error":null}`, `{"error":{}}`, `[null]`, `[{"error":{"code":503}}]`, `{"error":{"code":"x"}}`,
		`{"error":{"code":429,"details":[null,{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"5s"},{"@type":"x"},7]}}`) {
		f.Add([]byte(r), 200)
		f.Add([]byte(r), 403)
		f.Add([]byte(r), 503)
	}
	f.Add([]byte(replies[0]), 204)
	f.Add([]byte(replies[0]), 304)
	f.Add([]byte(replies[0]), -1)
}

// fuzzFetch fetches, on fake time, and checks what holds whatever was said.
func fuzzFetch(t *testing.T, a *api) (info *admin.Info) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		info1, expiry, err := newClient(t, a).Fetch(ctx, instance, false)
		switch {
		case err != nil:
			if info1 != nil || !expiry.IsZero() {
				t.Errorf("%v, %v beside %v", info1, expiry, err)
			}
			wantDecent(t, err)
			if d := admin.RetryAfter(err, time.Now()); d < 0 {
				t.Errorf("retry after %v", d)
			}
		case expiry.IsZero() || info1.Certificate == nil || !expiry.Equal(info1.Certificate.NotAfter):
			t.Errorf("expires at %v, the certificate is %v", expiry, info1.Certificate)
		default:
			info = info1
		}
	})
	return info
}

func FuzzConnectSettings(f *testing.F) {
	addReplies(f,
		settingsJSON(),
		settingsJSON(object{"serverCaCert": nil}),
		settingsJSON(caCert("")),
		settingsJSON(caCert("garbage")),
		settingsJSON(caCert(block("CERTIFICATE", []byte("garbage")))),
		settingsJSON(caCert(block("CERTIFICATE", []byte("garbage"))+serverCA.pem)),
		settingsJSON(object{"ipAddresses": []any{nil, object{}}, "dnsNames": []any{nil, object{}}}),
		settingsJSON(object{"dnsName": ".", "dnsNames": []any{object{"name": "."}}}),
		settingsJSON(object{"region": "europe-west1"}),
		settingsJSON(object{"backendType": "FIRST_GEN"}),
		settingsJSON(object{"region": 5}),
		settingsJSON()[:100],
	)
	cert := status(200, certJSON(clientCert(clientKey.Public(), time.Hour))) // made once: signing takes longer than the rest
	f.Fuzz(func(t *testing.T, body []byte, code int) {
		info := fuzzFetch(t, &api{settings: status(code, string(body)), cert: cert})
		if info == nil {
			return
		}
		var reply struct {
			ServerCaCert struct{ Cert string }
		}
		if err := json.Unmarshal(body, &reply); err != nil {
			t.Fatalf("an Info from what is no JSON: %v", err)
		}
		if b, _ := pem.Decode([]byte(reply.ServerCaCert.Cert)); b == nil {
			t.Error("an Info without anchors")
		}
		for kind, addrs := range info.Addrs {
			for _, a := range addrs {
				if a == "" {
					t.Errorf("%s address %q", kind, a)
				}
			}
			if len(addrs) == 0 {
				t.Errorf("%s has no address", kind)
			}
		}
		if cfg := info.TLS("db.example.com", false); cfg.VerifyConnection == nil || !cfg.InsecureSkipVerify {
			t.Errorf("configuration is %+v", cfg)
		}
	})
}

func FuzzEphemeralCert(f *testing.F) {
	cert := clientCert(clientKey.Public(), time.Hour)
	addReplies(f,
		certJSON(cert),
		certJSON(clientCert(newKey().Public(), time.Hour)),
		certJSON(cert+cert),
		certJSON(cert[:100]),
		certJSON(block("CERTIFICATE", []byte("garbage"))),
		certJSON(""),
		`{"ephemeralCert":null}`,
		`{"ephemeralCert":{}}`,
		`{"ephemeralCert":"x"}`,
		`{"ephemeralCert":{"cert":null}}`,
	)
	f.Fuzz(func(t *testing.T, body []byte, code int) {
		info := fuzzFetch(t, &api{cert: status(code, string(body))})
		if info != nil && !clientKey.PublicKey.Equal(info.Certificate.PublicKey) {
			t.Error("a certificate for another key")
		}
	})
}
