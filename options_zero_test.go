package cloudsqlconn_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// values are all options that take values, with the zero values and negative ones, and
// whether those are wrong.
var values = []struct {
	option string
	with   cloudsqlconn.ServeOption // or an Option, in only
	only   cloudsqlconn.Option
	wrong  bool
}{
	// 0 is the default.
	{option: "WithDialTimeout", with: cloudsqlconn.WithDialTimeout(0)},
	{option: "WithTCPKeepAlive", with: cloudsqlconn.WithTCPKeepAlive(0)},
	{option: "WithRefreshTimeout", only: cloudsqlconn.WithRefreshTimeout(0)},
	{option: "WithFailoverPeriod", only: cloudsqlconn.WithFailoverPeriod(0)},
	{option: "WithDrainTimeout", with: cloudsqlconn.WithDrainTimeout(0)},
	{option: "WithMaxConnections", with: cloudsqlconn.WithMaxConnections(0)},

	// A negative one turns off what can be turned off.
	{option: "WithDialTimeout", with: cloudsqlconn.WithDialTimeout(-1), wrong: true},
	{option: "WithTCPKeepAlive", with: cloudsqlconn.WithTCPKeepAlive(-1)},
	{option: "WithRefreshTimeout", only: cloudsqlconn.WithRefreshTimeout(-1), wrong: true},
	{option: "WithFailoverPeriod", only: cloudsqlconn.WithFailoverPeriod(-1)},
	{option: "WithDrainTimeout", with: cloudsqlconn.WithDrainTimeout(-1)},
	{option: "WithMaxConnections", with: cloudsqlconn.WithMaxConnections(-1), wrong: true},

	// Nil and the empty string are wrong.
	{option: "WithIPTypes", with: cloudsqlconn.WithIPTypes(), wrong: true},
	{option: "WithIPTypes", with: cloudsqlconn.WithIPTypes(""), wrong: true},
	{option: "WithDialFunc", with: cloudsqlconn.WithDialFunc(nil), wrong: true},
	{option: "WithProxy", with: cloudsqlconn.WithProxy(""), wrong: true},
	{option: "WithSameHost", with: cloudsqlconn.WithSameHost(nil), wrong: true},
	{option: "WithSQLData", with: cloudsqlconn.WithSQLData(""), wrong: true},
	{option: "WithSQLDataEndpoint", only: cloudsqlconn.WithSQLDataEndpoint(""), wrong: true},
	{option: "WithTokenSource", only: cloudsqlconn.WithTokenSource(nil), wrong: true},
	{option: "WithIAMAuthNTokenSources", only: cloudsqlconn.WithIAMAuthNTokenSources(nil, nil), wrong: true},
	{option: "WithCredentialsFile", only: cloudsqlconn.WithCredentialsFile(""), wrong: true},
	{option: "WithCredentialsJSON", only: cloudsqlconn.WithCredentialsJSON(nil), wrong: true},
	{option: "WithImpersonation", only: cloudsqlconn.WithImpersonation(""), wrong: true},
	{option: "WithImpersonation", only: cloudsqlconn.WithImpersonation("sa@example.com", ""), wrong: true},
	{option: "WithAdminAPIEndpoint", only: cloudsqlconn.WithAdminAPIEndpoint(""), wrong: true},
	{option: "WithHTTPClient", only: cloudsqlconn.WithHTTPClient(nil), wrong: true},
	{option: "WithQuotaProject", only: cloudsqlconn.WithQuotaProject(""), wrong: true},
	{option: "WithUniverseDomain", only: cloudsqlconn.WithUniverseDomain(""), wrong: true},
	{option: "WithUserAgent", only: cloudsqlconn.WithUserAgent(""), wrong: true},
	{option: "WithPrivateKey", only: cloudsqlconn.WithPrivateKey(nil), wrong: true},
	{option: "WithLogger", only: cloudsqlconn.WithLogger(nil), wrong: true},
	{option: "WithTracerProvider", only: cloudsqlconn.WithTracerProvider(nil), wrong: true},
	{option: "WithMeterProvider", only: cloudsqlconn.WithMeterProvider(nil), wrong: true},
	{option: "WithResolver", only: cloudsqlconn.WithResolver(nil), wrong: true},
	{option: "WithDNSResolver", only: cloudsqlconn.WithDNSResolver(nil), wrong: true},
	{option: "option 0", only: cloudsqlconn.Options(nil), wrong: true},
	{option: "option 0", with: cloudsqlconn.DialOptions(nil), wrong: true},

	// No options are none.
	{option: "Options", only: cloudsqlconn.Options()},
	{option: "DialOptions", with: cloudsqlconn.DialOptions()},
}

// noValue are the options that have none, or that take a bool.
var noValue = []string{
	"WithPublicIP", "WithPrivateIP", "WithPSC", "WithAutoIP", "WithProxyFromEnvironment", "WithLazyRefresh",
	"WithIAMAuthN", "WithMetadataExchange", "WithUnlistedDomain", "WithLoginAfterRefresh",
}

func TestZeroAndNegativeValuesOfOptions(t *testing.T) {
	d, err := cloudsqlconn.NewDialer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	tried := map[string]bool{}
	for _, tt := range values {
		tried[tt.option] = true
		var err error
		if o, ok := tt.with.(cloudsqlconn.Option); ok {
			tt.only = o
		}
		if tt.only != nil {
			var made *cloudsqlconn.Dialer
			if made, err = cloudsqlconn.NewDialer(t.Context(), tt.only); err == nil {
				_ = made.Close()
			}
		} else {
			err = d.Serve(over, memnet.Listen("door"), "my-project:europe-west1:my-db", tt.with)
		}
		e, ok := errors.AsType[*cloudsqlconn.Error](err)
		if tt.wrong && (!ok || e.Op != cloudsqlconn.OpConfig || !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), tt.option)) || !tt.wrong && err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want that it is wrong: %v", tt.option, err, tt.wrong)
		}
	}
	for _, name := range noValue {
		tried[name] = true
	}
	for _, name := range optionNames(t) {
		if !tried[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// optionNames are the exported functions of this package that make options.
func optionNames(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "With") {
				names = append(names, f.Name.Name)
			}
		}
	}
	if len(names) < 30 {
		t.Fatalf("found %d options", len(names))
	}
	return names
}
