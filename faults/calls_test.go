package faults_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestCallsOfTheAdminAPI(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(_ *testing.T, w *world) {
		parallel(100, func(int) { w.wantDial() })
		w.wantCalls(2) // metadata and certificate

		parallel(100, func(int) { w.wantDial() })
		time.Sleep(14 * time.Minute)
		w.wantDial()
		w.wantCalls(2)

		time.Sleep(18 * time.Minute) // half of the certificate's life is over
		w.wantCalls(4)

		// Nobody dials: for two lifetimes there are refreshes, 27 minutes apart or
		// more, hence 4 at most.
		time.Sleep(24 * time.Hour)
		idle := w.calls()
		if idle > 4+2*4 {
			w.t.Errorf("%d calls of the Admin API for an instance that nobody dials", idle)
		}
		w.wantDial()
		w.wantCalls(idle + 2)
	})
}

func TestCallsOfAnAdminAPIThatRefuses(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(_ *testing.T, w *world) {
		w.fault.Store(&cloudsqltest.Fault{Status: http.StatusForbidden})
		for range 1000 {
			_ = w.wantError(cloudsqlconn.ErrPermission, time.Second)
			time.Sleep(10 * time.Millisecond)
		}
		w.wantFaults()
		if got := w.calls(); got > 6 {
			w.t.Errorf("1,000 Dials in 10 s made %d calls of an Admin API that refuses, want at most 6", got)
		}
	})
}
