package cloudsqlconn_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// A key, or any other credentials file, in place of Application Default
// Credentials. It is read at the first Dial.
func ExampleWithCredentialsFile() {
	ctx := context.Background()
	dialer, err := cloudsqlconn.NewDialer(ctx, cloudsqlconn.WithCredentialsFile("/secrets/app/key.json"))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	_, err = dialer.Dial(ctx, "my-project:europe-west1:my-db")
	fmt.Println(errors.Is(err, cloudsqlconn.ErrPermission), errors.Is(err, os.ErrNotExist))
	// Output: true true
}

// A credentials file that the program has got by other means, such as from a
// secret store.
func ExampleWithCredentialsJSON() {
	text := []byte(`{"type": "authorized_user", "client_id": "…", "client_secret": "…", "refresh_token": "…"}`)
	dialer, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithCredentialsJSON(text), cloudsqlconn.WithIAMAuthN(true))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	fmt.Println("IAM login:", dialer.IAMAuthN())

	_, err = cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithCredentialsJSON([]byte("swordfish")))
	fmt.Println(err)
	// Output:
	// IAM login: true
	// cloudsqlconn: configure: WithCredentialsJSON: want the JSON of a credentials file
}

// Tokens that the program makes itself, for logins with a password.
func ExampleWithTokenSource() {
	source := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: os.Getenv("ACCESS_TOKEN")})
	dialer, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithTokenSource(source))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	// Such a token must not travel in certificates.
	_, err = dialer.Dial(context.Background(), "my-project:europe-west1:my-db", cloudsqlconn.WithIAMAuthN(true))
	fmt.Println(errors.Is(err, cloudsqlconn.ErrConfig))
	// Output: true
}

// Tokens that the program makes itself, for IAM login too: the second source
// gives tokens of the scope sqlservice.login and no other.
func ExampleWithIAMAuthNTokenSources() {
	var (
		api   = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: os.Getenv("ADMIN_TOKEN")})
		login = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: os.Getenv("LOGIN_TOKEN")})
	)
	dialer, err := cloudsqlconn.NewDialer(context.Background(),
		cloudsqlconn.WithIAMAuthNTokenSources(api, login),
		cloudsqlconn.WithIAMAuthN(true))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	fmt.Println("IAM login:", dialer.IAMAuthN())
	// Output: IAM login: true
}

// The program's own credentials act as a service account that may use the
// instance, here by way of a third one.
func ExampleWithImpersonation() {
	dialer, err := cloudsqlconn.NewDialer(context.Background(),
		cloudsqlconn.WithImpersonation("db@my-project.iam.gserviceaccount.com", "hop@my-project.iam.gserviceaccount.com"),
		cloudsqlconn.WithIAMAuthN(true))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	fmt.Println("IAM login:", dialer.IAMAuthN())
	// Output: IAM login: true
}

// Admin API calls that go through a proxy, count for another project and say
// which program makes them.
func ExampleWithHTTPClient() {
	server := cloudsqltest.NewServer()
	defer server.Close()
	server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{})

	proxy := func(*http.Request) (*url.URL, error) {
		return nil, nil // or the proxy's URL
	}
	transport := &http.Transport{Proxy: proxy, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	dialer, err := cloudsqlconn.NewDialer(context.Background(), append(server.Options(),
		cloudsqlconn.WithHTTPClient(&http.Client{Transport: transport}),
		cloudsqlconn.WithQuotaProject("my-billing"),
		cloudsqlconn.WithUserAgent("shop/1.2"))...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	if err := dialer.Warmup(context.Background(), "my-project:europe-west1:my-db"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(server.Requests()[0].Header.Get("X-Goog-User-Project"))
	// Output: my-billing
}

// A cloud other than the public one. The credentials must belong to it.
func ExampleWithUniverseDomain() {
	key := []byte(`{"type": "authorized_user", "client_id": "…", "client_secret": "…", "refresh_token": "…"}`)
	dialer, err := cloudsqlconn.NewDialer(context.Background(),
		cloudsqlconn.WithUniverseDomain("cloud.example.com"),
		cloudsqlconn.WithCredentialsJSON(key))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	_, err = dialer.Dial(context.Background(), "my-project:europe-west1:my-db")
	fmt.Println(errors.Unwrap(err))
	// Output: access token: the credentials belong to the universe googleapis.com, the Dialer to cloud.example.com; see WithUniverseDomain
}

// The Admin API somewhere else, such as a private endpoint.
func ExampleWithAdminAPIEndpoint() {
	dialer, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithAdminAPIEndpoint("https://sqladmin-psc.p.googleapis.com"))
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	_, err = cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithAdminAPIEndpoint("sqladmin-psc.p.googleapis.com"))
	fmt.Println(err)
	// Output: cloudsqlconn: configure: WithAdminAPIEndpoint: want a URL such as https://sqladmin.googleapis.com
}
