package emulator

import (
	"fmt"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// parseNamed finds the constant, of those from 0 on, that has a name, in any
// letter case. The empty name is that of the first. A number that is no constant
// has itself in the end of its text, in brackets.
func parseNamed[T interface {
	~int
	String() string
}](what, name string) (T, error) {
	var names []string
	for v := T(0); !strings.HasSuffix(v.String(), fmt.Sprintf("(%d)", int(v))); v++ {
		if name == "" || strings.EqualFold(name, v.String()) {
			return v, nil
		}
		names = append(names, v.String())
	}
	return 0, fmt.Errorf("unknown %s %q; want %s", what, name, strings.Join(names, ", "))
}

func parseBehavior(name string) (cloudsqltest.Behavior, error) {
	return parseNamed[cloudsqltest.Behavior]("behavior", name)
}

func parseExchange(name string) (cloudsqltest.MetadataExchange, error) {
	return parseNamed[cloudsqltest.MetadataExchange]("metadata exchange", name)
}
