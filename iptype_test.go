package cloudsqlconn_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
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

func TestEveryTypeOfAddressCanBeParsed(t *testing.T) {
	t.Parallel()
	for _, s := range admin.AddressTypes {
		if got, err := cloudsqlconn.ParseIPType(s); got.String() != s || err != nil {
			t.Errorf("ParseIPType(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := cloudsqlconn.ParseIPType("?"); !strings.Contains(err.Error(), fmt.Sprint(admin.AddressTypes)) {
		t.Errorf("%v, want %v", err, admin.AddressTypes)
	}
}
