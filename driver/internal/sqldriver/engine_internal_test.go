package sqldriver

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

func TestEveryEngineHasAPackage(t *testing.T) {
	t.Parallel()
	for _, e := range engine.All {
		if packages[string(e)] == "" {
			t.Errorf("%s has no package", e)
		}
	}
}
