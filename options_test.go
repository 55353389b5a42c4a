package cloudsqlconn_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// F30
func TestNewDialerNamesEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := cloudsqlconn.NewDialer(context.Background(),
		nil,
		cloudsqlconn.WithRefreshTimeout(-time.Second),
		cloudsqlconn.WithDialTimeout(-1),
		cloudsqlconn.WithIPTypes(),
		cloudsqlconn.WithResolver(nil),
		cloudsqlconn.WithDialFunc(nil),
		cloudsqlconn.WithTokenSource(nil),
		cloudsqlconn.WithHTTPClient(nil),
		cloudsqlconn.WithPrivateKey(nil),
		cloudsqlconn.WithAdminAPIEndpoint("sqladmin.example.com"),
		cloudsqlconn.WithUserAgent("two\nlines"),
		cloudsqlconn.DialOptions(nil),
		cloudsqlconn.WithTokenSource(oauth2.StaticTokenSource(nil)),
		cloudsqlconn.WithIAMAuthNTokenSources(oauth2.StaticTokenSource(nil), oauth2.StaticTokenSource(nil)),
		cloudsqlconn.Options(nil, cloudsqlconn.WithIAMAuthNTokenSources(nil, nil)),
	)
	if !errors.Is(err, cloudsqlconn.ErrConfig) {
		t.Fatalf("got %v, want ErrConfig", err)
	}
	for _, want := range []string{
		"option 0 is nil", "WithRefreshTimeout: want 0 or more, got -1s", "WithDialTimeout", "WithIPTypes",
		"WithResolver", "WithDialFunc", "WithTokenSource", "WithHTTPClient", "WithPrivateKey", "WithAdminAPIEndpoint",
		"WithUserAgent", "WithIAMAuthNTokenSources: a token source is nil", "WithTokenSource and WithIAMAuthNTokenSources",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not tell %q", want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
}

func TestUnusableKeysAreRefused(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []*rsa.PrivateKey{nil, {}, small} {
		if _, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithPrivateKey(key)); !errors.Is(err, cloudsqlconn.ErrConfig) {
			t.Errorf("got %v, want ErrConfig", err)
		}
	}
}

// Package net: "a nil *Resolver is equivalent to a zero Resolver".
func TestANilResolverOfPackageNetIsAZeroOne(t *testing.T) {
	t.Parallel()
	d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithDNSResolver((*net.Resolver)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
}
