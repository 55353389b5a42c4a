package cloudsqlconn_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
)

func TestParseIPTypes(t *testing.T) {
	t.Parallel()
	for s, want := range map[string][]cloudsqlconn.IPType{
		"PSC":                {cloudsqlconn.PSC},
		"private":            {cloudsqlconn.PrivateIP},
		"PRIVATE,PUBLIC":     {cloudsqlconn.PrivateIP, cloudsqlconn.PublicIP},
		"public,Private,psc": {cloudsqlconn.PublicIP, cloudsqlconn.PrivateIP, cloudsqlconn.PSC},
	} {
		if got, err := cloudsqlconn.ParseIPTypes(s); !slices.Equal(got, want) || err != nil {
			t.Errorf("ParseIPTypes(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", ",", "PUBLIC,", ",PUBLIC", "PUBLIC,,PSC", "PUBLIC, PSC", " PUBLIC", "PUBLIC;PSC", "IPV6", "PUBLIC,public"} {
		types, err := cloudsqlconn.ParseIPTypes(s)
		if !errors.Is(err, cloudsqlconn.ErrConfig) || types != nil {
			t.Errorf("ParseIPTypes(%q) = %v, %v; want ErrConfig", s, types, err)
			continue
		}
		for _, want := range []string{"[PUBLIC PRIVATE PSC]", "separated by commas", `"` + s + `"`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("ParseIPTypes(%q): the error %q does not tell %s", s, err, want)
			}
		}
	}
}

func FuzzParseIPTypes(f *testing.F) {
	for _, s := range []string{"PRIVATE,PUBLIC", "psc", "", ",", "PUBLIC, PSC", "ſ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		types, err := cloudsqlconn.ParseIPTypes(s)
		if err != nil {
			if !errors.Is(err, cloudsqlconn.ErrConfig) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got error %q", err)
			}
			return
		}
		var words []string
		for _, ipType := range types {
			words = append(words, ipType.String())
		}
		if text := strings.Join(words, ","); !strings.EqualFold(text, s) || len(types) == 0 || len(slices.Compact(slices.Sorted(slices.Values(types)))) != len(types) {
			t.Errorf("ParseIPTypes(%q) = %v", s, types)
		}
	})
}

// The packages below have lists of their own, since one imports nothing of the others.
func TestAllKnowTheSameTypesOfAddress(t *testing.T) {
	t.Parallel()
	var all []string
	for _, s := range admin.AddressTypes {
		if _, err := cloudsqlconn.ParseIPType(s); err != nil {
			t.Error(err)
		}
		all = append(all, s)
	}
	if _, err := cloudsqlconn.ParseIPType("?"); !strings.Contains(err.Error(), fmt.Sprint(all)) {
		t.Errorf("%v, want %v", err, all)
	}
	if all = append(all, telemetry.ByDNSName); !slices.Equal(telemetry.AddressTypes, all) {
		t.Errorf("metrics have %v, want %v", telemetry.AddressTypes, all)
	}
}
