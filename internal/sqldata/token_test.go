package sqldata_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// A token that the service echoed was shown by the error of a Read, by what
// status.FromError finds, and in part where a long text is cut.
func TestNoErrorShowsTheToken(t *testing.T) {
	t.Parallel()
	const token = "secret-token"
	for name, tt := range map[string]struct {
		before int // bytes of text in front of it
		late   time.Duration
	}{
		"of Open":          {},
		"of Open, cut":     {before: 995},
		"of a Read":        {late: time.Minute},
		"of a Read, cut":   {before: 995, late: time.Minute},
		"of Open, in time": {late: 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(s stream) error {
				if _, err := s.recv(); err != nil {
					return err
				}
				time.Sleep(tt.late)
				return status.Error(codes.PermissionDenied, strings.Repeat("x", tt.before)+token)
			}, func(w *world) {
				client := sqldata.New(sqldata.Config{
					Endpoint:    sqldata.Endpoint{Host: "127.0.0.1", Port: "443", Plaintext: true},
					Credentials: func(context.Context) (sqldata.Credentials, error) { return sqldata.Credentials{Token: token}, nil },
				})
				defer client.Close()
				c, err := client.Open(w.t.Context(), session, w.route)
				if c != nil {
					_, err = c.Read(make([]byte, 1))
					_ = c.Close()
				}
				e, ok := errors.AsType[*sqldata.StatusError](err)
				if !ok {
					t.Fatalf("got %v", err)
				}
				if text := fmt.Sprint(err, e.GRPCStatus()); strings.Contains(text, token[:3]) || !strings.Contains(text, "[token]") {
					t.Errorf("got %v", text)
				}
			})
		})
	}
}
