package doctor

import (
	"os"
	"regexp"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/engine"
)

func TestEveryEngineIsGreeted(t *testing.T) {
	t.Parallel()
	for _, e := range engine.All {
		if firstBytes(string(e)+"_1") == nil {
			t.Errorf("nothing is known of %s", e)
		}
	}
}

func TestEveryHopBelongsToAStepOfADial(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("hops.go")
	if err != nil {
		t.Fatal(err)
	}
	hops := regexp.MustCompile(`(?m)^\tHop\w+ += "(.+)"$`).FindAllSubmatch(source, -1)
	for _, hop := range hops {
		if ops[string(hop[1])] == "" {
			t.Errorf("the hop %s has no step in ops", hop[1])
		}
	}
	if len(hops) != len(ops) {
		t.Errorf("found %d hops, and ops has %d", len(hops), len(ops))
	}
}
