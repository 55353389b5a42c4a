package authtest

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestGKEPassesIAMsRefusalsOnAsPlainText(t *testing.T) {
	for code, want := range map[int]string{403: "IAM returned 403 Forbidden", 404: "IAM returned 404 Not Found"} {
		s := NewServer("admin", "login")
		defer s.Close()
		s.Fail = GKE(code)
		for path, refused := range map[string]bool{metadataToken: true, strings.TrimSuffix(metadataToken, "token") + "email": false} {
			resp, err := s.InProcess().Do(must(http.NewRequest("GET", s.URL+path, nil)))
			if err != nil {
				t.Fatal(err)
			}
			text := string(must(io.ReadAll(resp.Body)))
			if got := resp.StatusCode == code && strings.Contains(text, want) && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain"); got != refused {
				t.Errorf("%s: %s: %s", path, resp.Status, text)
			}
		}
	}
}
