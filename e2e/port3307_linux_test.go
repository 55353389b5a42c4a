package e2e

import (
	"testing"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// A Dialer without a dial function of the kit finds the instance at its
// addresses, as it would find a real one.
func TestDialerFindsTheInstanceAtItsAddresses(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *engine) {
		i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{ListenOn3307: true})
		token := func(s string) oauth2.TokenSource { return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: s}) }
		d, err := cloudsqlconn.NewDialer(t.Context(),
			cloudsqlconn.WithAdminAPIEndpoint(i.kit.URL()),
			cloudsqlconn.WithIAMAuthNTokenSources(token(i.kit.Token()), token(i.kit.LoginToken())),
		)
		wantNil(t, err)
		t.Cleanup(func() { wantNil(t, d.Close()) })

		for _, address := range []cloudsqlconn.DialOption{cloudsqlconn.WithPublicIP(), cloudsqlconn.WithPrivateIP()} {
			wantUser(t, i, i.openWith(t, d, app, address), app.user)
			wantUser(t, i, i.openWith(t, d, iam, address, cloudsqlconn.WithIAMAuthN(true)), i.iamUser)
		}
		if addrs, _ := i.network.dialled(); len(addrs) > 0 {
			t.Errorf("the kit's network was used: %v", addrs)
		}
	})
}
