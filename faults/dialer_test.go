package faults_test

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestDialReachesTheInstance(t *testing.T) {
	for _, mode := range []cloudsqltest.CAMode{cloudsqltest.LegacyCA, cloudsqltest.GoogleCAS, cloudsqltest.CustomerCAS} {
		t.Run(string(mode), func(t *testing.T) {
			bothStrategies(t, cloudsqltest.Instance{CAMode: mode}, func(t *testing.T, w *world) {
				w.wantDial()
				w.wantDial()
				w.wantCalls(2)
			})
		})
	}
}
