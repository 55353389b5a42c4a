package e2e

import (
	"net"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/pgstartup"
)

// A login that is repeated is one to a real server, leaves no session behind, and is
// not repeated again when the server says that it never goes well.
func TestARepeatedLoginIsUnderstood(t *testing.T) {
	eachPostgres(t, func(t *testing.T, e *engine) {
		i := e.newInstance(t).withDatabase(t)
		for name, tt := range map[string]struct {
			iam            bool
			user, database string
			good, again    bool
		}{
			"good":        {true, i.iamUser, i.database, true, true},
			"no user":     {true, "nobody@example.com", i.database, false, false},
			"no database": {true, i.iamUser, "none", false, false},
			"password":    {false, app.user, i.database, false, false},
		} {
			t.Run(name, func(t *testing.T) {
				c, err := i.dialer.Dial(t.Context(), instanceName, cloudsqlconn.WithIAMAuthN(tt.iam))
				wantNil(t, err)
				defer func() { _ = c.Close() }()
				_, login := pgstartup.Again(tt.user, tt.database)
				if again, err := login(c); (err == nil) != tt.good || again != tt.again {
					t.Errorf("got %v, %v", again, err)
				}
				if _, err := c.Read(make([]byte, 1)); tt.good && err == nil {
					t.Error("the session goes on")
				} else if timeout, ok := err.(net.Error); tt.good && ok && timeout.Timeout() {
					t.Errorf("the server did not end the session in time: %v", err)
				}
			})
		}
	})
}
