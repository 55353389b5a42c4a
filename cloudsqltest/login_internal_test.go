package cloudsqltest

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

func TestLoginsAreLookedAtWhereThereIsIAM(t *testing.T) {
	t.Parallel()
	for _, e := range engine.All {
		if _, ok := protocols[e]; ok != e.HasIAM() {
			t.Errorf("%s: logins are looked at: %v; has IAM login: %v", e, ok, e.HasIAM())
		}
	}
}
