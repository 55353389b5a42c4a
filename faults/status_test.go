package faults_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// It was the error of the refresh itself, without sentinel and hint (issue 17,
// point 11).
func TestTheLastErrorIsThatOfADial(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		if err := w.dialer.Instances(); len(err) != 0 {
			t.Fatalf("instances before the first Dial: %v", err)
		}
		w.fault.Store(refusal(403, notAuthorized, "notAuthorized"))
		dialled := w.wantError(cloudsqlconn.ErrPermission, time.Second)
		w.wantFaults()
		last, ok := errors.AsType[*cloudsqlconn.Error](w.dialer.Instances()[0].LastError)
		if !ok || !errors.Is(last, cloudsqlconn.ErrPermission) || last.Hint != dialled.Hint || last.Error() != dialled.Error() {
			t.Errorf("got %v, want %v", last, dialled)
		}
		w.fault.Store(nil)
		time.Sleep(time.Minute)
		w.wantDial()
		if err := w.dialer.Instances()[0].LastError; err != nil {
			t.Errorf("after a success: %v", err)
		}
	})
}

func TestInstancesTellTheirHistory(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.withLogin(lasting(w.LoginToken(), 10*time.Minute))
		began := time.Now().Round(0)
		if err := w.dialer.Warmup(t.Context(), testInstance); err != nil {
			t.Fatal(err)
		}
		s := w.dialer.Instances()[0]
		want := []cloudsqlconn.RefreshAttempt{{Time: began}}
		if !cmp.Equal(s.History, want) || !s.Expiry.Equal(began.Add(10*time.Minute)) || !s.CertificateExpiry.Equal(began.Add(time.Hour)) || s.Refreshing {
			t.Errorf("got %+v", s)
		}

		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		w.instance.Stop()
		go func() { _ = w.dial(time.Second) }()
		time.Sleep(500 * time.Millisecond)
		if s := w.dialer.Instances()[0]; !s.Refreshing || len(s.History) != 1 {
			t.Errorf("during a refresh: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		w.wantFaults()
		h := w.dialer.Instances()[0].History
		if len(h) < 2 || !h[1].Forced || h[1].Error == "" || h[1].Duration != time.Minute || !h[1].Time.Equal(began) {
			t.Errorf("got %+v", h)
		}
	})
}
