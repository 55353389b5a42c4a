package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	peer "cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// Three hours of a Dialer with a thousand instances. Without a file to write
// to, it runs a few instances only.
func TestRefreshesOfAThousandInstances(t *testing.T) {
	key := newTestKey(t) // outside the bubble: it takes real time
	n := 20
	if os.Getenv(refreshFile) != "" {
		n = manyInstances
	}
	// The peer's NewDialer cannot be called in a bubble: OpenCensus has a
	// goroutine of its own.
	cloud := new(later)
	p, err := peer.NewDialer(context.Background(),
		peer.WithAdminAPIEndpoint("http://sqladmin.test:80"), peer.WithHTTPClient(&http.Client{Transport: cloud}),
		peer.WithDialFunc(cloud.dial), peer.WithTokenSource(cloud), peer.WithBuiltInMetrics(false), peer.WithRSAKey(key))
	wantNil(t, err)
	defer p.Close()
	connect := map[string]func() (warmer, error){
		oursName: func() (warmer, error) {
			d, err := cloudsqlconn.NewDialer(context.Background(), append(cloud.Options(), cloudsqlconn.WithPrivateKey(key))...)
			return &ours{Dialer: d}, err
		},
		peerName: func() (warmer, error) { return &theirs{Dialer: p}, nil },
	}
	for _, name := range connectorNames {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := cloudsqltest.NewMemoryServer()
				defer server.Close()
				cloud.Server = server
				names := make([]string, n)
				for i := range names {
					names[i] = fmt.Sprintf("my-project:europe-west1:db-%d", i)
					server.AddInstance(names[i], cloudsqltest.Instance{})
				}
				s, err := connect[name]()
				wantNil(t, err)
				defer s.Close()
				start := time.Now()
				wantNil(t, atOnce(n, n, func(i int) error { return s.warmup(t.Context(), names[i]) }))
				const hours = 3
				for ask := time.Duration(0); ask < hours*time.Hour; ask += 5 * time.Minute {
					wantNil(t, atOnce(n, n, func(i int) error {
						pause := 5 * time.Minute * time.Duration(i) / time.Duration(n)
						time.Sleep(ask + pause - time.Since(start))
						return s.warmup(t.Context(), names[i])
					}))
				}
				time.Sleep(hours*time.Hour - time.Since(start))
				counts := refreshCounts{PerSecond: make([]int, hours*3600)}
				for _, r := range server.Requests() {
					if second := int(r.Time.Sub(start) / time.Second); second < len(counts.PerSecond) {
						counts.PerSecond[second]++
					}
				}
				if got := total(counts.PerSecond); got < 4*n {
					t.Errorf("%d calls of the Admin API in %d hours: no refreshes", got, hours)
				}
				if file := os.Getenv(refreshFile); file != "" {
					text, err := json.Marshal(counts)
					wantNil(t, err)
					wantNil(t, os.WriteFile(file, text, 0o600))
				}
			})
		})
	}
}

// later is a server that there is not yet.
type later struct{ *cloudsqltest.Server }

func (l *later) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+l.Server.Token())
	return l.Client().Transport.RoundTrip(req)
}

func (l *later) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return l.DialContext(ctx, network, addr)
}

func (l *later) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: l.Server.Token()}, nil
}
