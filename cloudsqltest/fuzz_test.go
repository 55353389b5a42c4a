package cloudsqltest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// Whatever a client sends, it gets an answer of the API's form.
func FuzzAdminAPI(f *testing.F) {
	good := `{"public_key":` + string(must(json.Marshal(publicPEM(clientKey.Public())))) + `}`
	for _, path := range []string{"/", "", "//", "*", "/%2e%2e/", instancePath, instancePath + "/connectSettings", instancePath + "/connectSettings?prettyPrint=false", instancePath + ":generateEphemeralCert",
		"/v1/projects/a%3Ab/instances/c:generateEphemeralCert", "/sql/v1/projects/my-project/instances/other/connectSettings"} {
		f.Add("GET", path, "", true)
		f.Add("POST", path, good, true)
		f.Add("OPTIONS", path, "", false)
	}
	for _, body := range []string{"{", "null", "[]", `"x"`, `{"public_key":"-----BEGIN X-----\nAAAA\n-----END X-----"}`, strings.Replace(good, "{", `{"validDuration":"9s",`, 1), strings.Replace(good, "{", `{"access_token":"\u0000",`, 1)} {
		f.Add("POST", instancePath+":generateEphemeralCert", body, true)
	}
	s := cloudsqltest.NewServer()
	f.Cleanup(s.Close)
	s.AllowAnyKey = true
	s.AddInstance(instanceName, cloudsqltest.Instance{})
	client := *s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	f.Fuzz(func(t *testing.T, method, path, body string, token bool) {
		if path != "" && path[0] != '/' {
			path = "/" + path // or it is part of the host
		}
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
		if err != nil || method == http.MethodConnect {
			t.Skip("net/http would not send it")
		}
		req.URL.RawQuery = url.QueryEscape(req.URL.RawQuery) // the client does not, and net/http's server has its own word for that
		if token {
			req.Header.Set("Authorization", "Bearer "+s.Token())
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s %q: %v", method, path, err)
		}
		defer resp.Body.Close()
		if method == http.MethodHead {
			return
		}
		var answer map[string]json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatalf("%s %q: %s: %v", method, path, resp.Status, err)
		}
		good := answer["ephemeralCert"] != nil || answer["serverCaCert"] != nil
		if good != (resp.StatusCode == 200) || good != (answer["error"] == nil) {
			t.Errorf("%s %q: %s: %s", method, path, resp.Status, answer)
		}
	})
}
