package cloudsqltest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// status makes a request with a token and returns the answer's status and
// envelope.
func (c *client) status(path, token string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), "GET", c.s.URL()+path, nil)
	wantNil(c.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.s.Client().Do(req)
	wantNil(c.t, err)
	defer resp.Body.Close()
	var b strings.Builder
	_ = resp.Write(&b)
	_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
	return resp.StatusCode, envelope([]byte(body))
}

func TestQuotaIsAUsersForAMinute(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		c.s.Quota = 3
		c.s.Principals = map[string]string{"a": "ann@example.com", "b": "ann@example.com", "c": "bob@example.com"}
		want := func(token string, want int) {
			t.Helper()
			got, text := c.status(instancePath+"/connectSettings", token)
			if got != want {
				t.Errorf("token %s: status %d, want %d", token, got, want)
			}
			if want == 429 && (!strings.HasPrefix(text, "429 Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service 'sqladmin.googleapis.com' for consumer 'project_number:") ||
				!strings.HasSuffix(text, "'. RESOURCE_EXHAUSTED rateLimitExceeded")) {
				t.Errorf("got %q", text)
			}
		}
		want("a", 200)
		want("b", 200)
		time.Sleep(59 * time.Second)
		want("a", 200)
		want("b", 429)
		want("c", 200)
		want(c.s.Token(), 200)
		want("nobody's", 401)
		time.Sleep(time.Second)
		want("b", 200)
	})
}

func TestTokensCanBeReplaced(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		before, login := c.s.Token(), c.s.LoginToken()
		c.s.SetTokens("mine", "")
		if c.s.Token() != "mine" || c.s.LoginToken() != login {
			t.Errorf("got %q and %q", c.s.Token(), c.s.LoginToken())
		}
		for token, want := range map[string]int{before: 401, login: 401, "mine": 200} {
			if got, _ := c.status(instancePath+"/connectSettings", token); got != want {
				t.Errorf("token %s: status %d, want %d", token, got, want)
			}
		}
	})
}

func TestLoginTokenWithAPrincipalIsStillNoneForTheAPI(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		c.s.Principals = map[string]string{c.s.LoginToken(): "ann@example.com"}
		if got, _ := c.status(instancePath+"/connectSettings", c.s.LoginToken()); got != 401 {
			t.Errorf("status %d, want 401", got)
		}
	})
}

func TestRequestsAreBoundedOnDemand(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		c.s.MaxRequests = 2
		for range 3 {
			c.settings()
		}
		c.certificate()
		requests := c.s.Requests()
		if len(requests) != 2 || requests[0].Call != cloudsqltest.ConnectSettings || requests[1].Call != cloudsqltest.GenerateEphemeralCert || requests[1].Status != 200 {
			t.Errorf("got %+v", requests)
		}
	})
}
