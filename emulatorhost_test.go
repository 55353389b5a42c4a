package cloudsqlconn_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// metadataServer gives the tokens of the kit, and counts them.
func metadataServer(t *testing.T, kit *cloudsqltest.Server) *atomic.Int32 {
	t.Helper()
	asked := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		token := kit.Token()
		switch path := strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/"); path {
		case "instance/service-accounts/default/email":
			_, _ = w.Write([]byte("app@my-project.iam.gserviceaccount.com"))
		case "instance/service-accounts/default/token":
			asked.Add(1)
			if strings.HasSuffix(r.URL.Query().Get("scopes"), "/sqlservice.login") {
				token = kit.LoginToken()
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": 3600, "token_type": "Bearer"})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(server.URL, "http://"))
	return asked
}

// A program that says nothing talks to the emulator, and its real credentials
// stay where they are.
func TestEmulatorOfTheEnvironment(t *testing.T) {
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	kit.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{Handler: cloudsqltest.Echo})
	asked := metadataServer(t, kit)
	t.Setenv("CLOUDSQLCONN_EMULATOR_HOST", strings.TrimPrefix(kit.URL(), "http://"))
	file := filepath.Join(t.TempDir(), "real.json")
	if err := os.WriteFile(file, []byte(`{"type": "service_account"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file) // fails if it is read

	d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithDialFunc(kit.DialContext), cloudsqlconn.WithIAMAuthN(true))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	conn, err := d.Dial(t.Context(), "my-project:europe-west1:my-db")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if asked.Load() != 2 || len(kit.Requests()) != 2 {
		t.Errorf("%d tokens and %d calls, want 2 and 2", asked.Load(), len(kit.Requests()))
	}
}

func TestEmulatorOfTheEnvironmentWithoutMetadataServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("CLOUDSQLCONN_EMULATOR_HOST", l.Addr().String())
	t.Setenv("NO_GCE_CHECK", "true")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/real.json") // fails with another error if it is read
	d, err := cloudsqlconn.NewDialer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Dial(t.Context(), "my-project:europe-west1:my-db"); err == nil || !strings.Contains(err.Error(), "there is no metadata server on loopback; see GCE_METADATA_HOST") || !strings.Contains(cloudsqlconn.Hint(err), "set GCE_METADATA_HOST") {
		t.Errorf("got %v, with the hint %q", err, cloudsqlconn.Hint(err))
	}
}

// A program on a machine of Google's, where the tokens would be real ones.
func TestTheEmulatorGetsNoTokensOfARealMachine(t *testing.T) {
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	asked := metadataServer(t, kit)
	_, port, err := net.SplitHostPort(os.Getenv("GCE_METADATA_HOST"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CLOUDSQLCONN_EMULATOR_HOST", strings.TrimPrefix(kit.URL(), "http://"))
	// The first leads to the server all the same.
	for _, host := range []string{"0.0.0.0:" + port, "169.254.169.254", "metadata.google.internal:80", "localhost.example.com", ""} {
		t.Setenv("GCE_METADATA_HOST", host)
		d, err := cloudsqlconn.NewDialer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Dial(t.Context(), "my-project:europe-west1:my-db")
		_ = d.Close()
		if err == nil || !strings.Contains(err.Error(), "see GCE_METADATA_HOST") {
			t.Errorf("%s: got %v", host, err)
		}
	}
	if asked.Load() != 0 || len(kit.Requests()) != 0 {
		t.Errorf("%d tokens and %d calls, want none", asked.Load(), len(kit.Requests()))
	}
}

// An emulator that does not listen may be starting, but is not waited for as long as
// a Dial has time.
func TestAnEmulatorThatDoesNotListenIsWaitedForBriefly(t *testing.T) {
	t.Setenv("CLOUDSQLCONN_EMULATOR_HOST", "127.0.0.1:13307")
	for name, tt := range map[string]struct {
		starts time.Duration // after the Dial began
		want   error
		most   time.Duration // that it takes
		advice string
	}{
		"it comes":      {time.Second / 2, cloudsqlconn.ErrPermission, 2 * time.Second, "Cloud SQL Client"},
		"it comes late": {1950 * time.Millisecond, cloudsqlconn.ErrPermission, 3 * time.Second, "Cloud SQL Client"},
		"it stays away": {time.Hour, syscall.ECONNREFUSED, 3 * time.Second,
			"No emulator listens at 127.0.0.1:13307, where CLOUDSQLCONN_EMULATOR_HOST says"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				refused := 0
				var mu sync.Mutex // guards refused
				client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
					if time.Since(began) < tt.starts {
						mu.Lock()
						defer mu.Unlock()
						refused++
						return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
					}
					body := cloudsqltest.ErrorBody(http.StatusForbidden, "The client is not authorized to make this request.", "notAuthorized")
					return &http.Response{StatusCode: http.StatusForbidden, Body: io.NopCloser(strings.NewReader(body))}, nil
				})}
				d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithHTTPClient(client))
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				_, err = d.Dial(t.Context(), "my-project:europe-west1:my-db")
				took := time.Since(began)
				if !errors.Is(err, tt.want) || !strings.Contains(cloudsqlconn.Hint(err), tt.advice) || took > tt.most {
					t.Errorf("after %v got %v, with the hint %q", took, err, cloudsqlconn.Hint(err))
				}
				mu.Lock()
				defer mu.Unlock()
				if refused < 2 {
					t.Errorf("%d calls were refused, want 2 or more", refused)
				}
			})
		})
	}
}

// roundTrip is a transport that is a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConfusedPortsOfTheEmulatorAreTold(t *testing.T) {
	kit := cloudsqltest.NewServer()
	defer kit.Close()
	kit.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{Handler: cloudsqltest.Echo})
	metadataServer(t, kit)
	api, control := strings.TrimPrefix(kit.URL(), "http://"), os.Getenv("GCE_METADATA_HOST")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	for _, tt := range []struct{ api, control, advice string }{
		{api, api, "set it to the emulator's control endpoint, such as 127.0.0.1:13308; the port in CLOUDSQLCONN_EMULATOR_HOST"},
		{control, control, "is no Admin API: name the emulator's address for that, such as 127.0.0.1:13307"},
		{closed, control, "No emulator listens at " + closed},
		{api, closed, "Nothing answers where GCE_METADATA_HOST says that the emulator's control endpoint is"},
	} {
		t.Setenv("CLOUDSQLCONN_EMULATOR_HOST", tt.api)
		t.Setenv("GCE_METADATA_HOST", tt.control)
		d, err := cloudsqlconn.NewDialer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Dial(t.Context(), "my-project:europe-west1:my-db")
		_ = d.Close()
		if err == nil || !strings.Contains(cloudsqlconn.Hint(err), tt.advice) {
			t.Errorf("got %v, with the hint %q, want %q", err, cloudsqlconn.Hint(err), tt.advice)
		}
	}
}

func TestEmulatorOfTheEnvironmentIsOnLoopback(t *testing.T) {
	for host, ok := range map[string]bool{
		"127.0.0.1:13307": true, "localhost:13307": true, "[::1]:13307": true, "127.9.0.1:1": true,
		"10.0.0.1:13307": false, "emulator:13307": false, "127.0.0.1": false, "http://127.0.0.1:13307": false,
		"127.0.0.1:13307@example.com": false, "localhost.example.com:1": false, "127.0.0.1:13307/path": false,
	} {
		t.Setenv("CLOUDSQLCONN_EMULATOR_HOST", host)
		d, err := cloudsqlconn.NewDialer(t.Context())
		if err == nil {
			_ = d.Close()
		}
		if (err == nil) != ok || err != nil && (!errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "CLOUDSQLCONN_EMULATOR_HOST") || !strings.HasPrefix(cloudsqlconn.Hint(err), "Set CLOUDSQLCONN_EMULATOR_HOST to host and port")) {
			t.Errorf("%s: got %v", host, err)
		}
		d, err = cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithAdminAPIEndpoint("https://sqladmin.example.com"))
		if err != nil {
			t.Errorf("%s with an endpoint of the program's: got %v", host, err)
			continue
		}
		_ = d.Close()
	}
}
