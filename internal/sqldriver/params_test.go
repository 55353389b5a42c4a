package sqldriver_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldriver"
)

var errUnknownType = errors.New("unknown IP type")

// words makes options that can be compared.
var words = sqldriver.OptionFuncs[string, string]{
	ParseIPTypes: func(list string) ([]string, error) {
		if list == "" {
			return nil, errUnknownType
		}
		return strings.Split(list, ","), nil
	},
	IPTypes: func(types ...string) string { return "types " + strings.Join(types, " ") },
	IAMAuthN: func(on bool) string {
		if on {
			return "iam"
		}
		return "no iam"
	},
}

func TestParametersForTheDialerBecomeOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		params, left map[string]string
		want         []string
	}{
		{"no map", nil, nil, nil},
		{"others only", map[string]string{"a": "b"}, map[string]string{"a": "b"}, nil},
		{"types", map[string]string{"cloudsql_ip_types": "PRIVATE,PUBLIC", "a": "b"}, map[string]string{"a": "b"}, []string{"types PRIVATE PUBLIC"}},
		{"both", map[string]string{"cloudsql_iam_authn": "true", "cloudsql_ip_types": "PSC"}, nil, []string{"types PSC", "iam"}},
		{"off", map[string]string{"cloudsql_iam_authn": "false"}, nil, []string{"no iam"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := words.Options(c.params)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
			if !maps.Equal(c.params, c.left) {
				t.Errorf("left in the map: %v, want %v", c.params, c.left)
			}
		})
	}
}

func TestBadParametersForTheDialerAreErrors(t *testing.T) {
	t.Parallel()
	if _, err := words.Options(map[string]string{"cloudsql_ip_types": ""}); !errors.Is(err, errUnknownType) || !strings.Contains(err.Error(), "cloudsql_ip_types") {
		t.Errorf("no types: got %v", err)
	}
	for _, s := range []string{"", "yes", "2", strings.Repeat("x", 1<<10)} {
		_, err := words.Options(map[string]string{"cloudsql_iam_authn": s})
		if err == nil || !strings.Contains(err.Error(), "cloudsql_iam_authn") || len(err.Error()) > 100 {
			t.Errorf("cloudsql_iam_authn=%.40q: got %v", s, err)
		}
	}
}
