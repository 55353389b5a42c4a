package faults_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// wantLog checks the records of at least this level since the last call: each
// has these attributes, whose texts need only be contained in what was logged.
func (w *witness) wantLog(least slog.Level, want ...map[string]string) {
	w.t.Helper()
	synctest.Wait()
	got := w.records(least)
	if len(got) != len(want) {
		w.t.Errorf("%d records, want %d:", len(got), len(want))
		for _, r := range got {
			w.t.Error(r)
		}
		return
	}
	for i, attrs := range want {
		for key, text := range attrs {
			if !strings.Contains(fmt.Sprint(got[i][key]), text) {
				w.t.Errorf("record %d: %s=%v, want %q: %v", i, key, got[i][key], text, got[i])
			}
		}
	}
}

func TestRoutineIsLoggedAtDebug(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.wantDial()
		w.wantDial()
		w.told.wantLog(slog.LevelDebug,
			map[string]string{"level": "DEBUG", "msg": "refresh begins", "instance": testInstance},
			map[string]string{"level": "DEBUG", "msg": "refreshed", "instance": testInstance, "expiry": "2000-01-01T01:", "addresses": "127.9.0.1"},
			map[string]string{"level": "DEBUG", "msg": "connected", "instance": testInstance, "address": "my-db.test:3307", "took": ""},
			map[string]string{"level": "DEBUG", "msg": "connected"},
		)
		time.Sleep(24 * time.Hour)
		w.told.wantLog(slog.LevelInfo)
	})
}

func TestAFailedBackgroundRefreshIsAWarningWhileTheCertificateLives(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.fault.Store(status(403))
		for w.faults.Load() == 0 {
			time.Sleep(time.Second)
		}
		w.told.wantLog(slog.LevelInfo, map[string]string{
			"level": "WARN", "msg": "refresh failed", "instance": testInstance, "error": "403", "attempts": "1", "left": "",
		})
		w.wantDial() // no error
		w.fault.Store(nil)
		time.Sleep(time.Minute)
		w.wantDial()
		w.told.wantLog(slog.LevelInfo, map[string]string{
			"level": "INFO", "msg": "refreshed again after failures", "attempts": "1", "expiry": "2000-01-01T01:",
		})
	})
}

func TestAnErrorThatIsReturnedIsNotLogged(t *testing.T) {
	for name, arrange := range map[string]func(w *world){
		"forbidden": func(w *world) { w.fault.Store(status(403)) },
		"API down":  func(w *world) { w.fault.Store(status(503)) },
		"no such name": func(w *world) {
			w.dialer = w.newDialer(cloudsqlconn.WithResolver(&names{err: errors.New("no such name")}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
				arrange(w)
				if _, err := w.dialer.Dial(t.Context(), "my-project:europe-west1:nobody", cloudsqlconn.WithDialTimeout(5*time.Second)); err == nil && name != "no such name" {
					t.Fatal("the fault did not happen")
				}
				if _, err := w.dialer.Dial(t.Context(), testDomain); err == nil {
					t.Fatal("the fault did not happen")
				}
				w.told.wantLog(slog.LevelInfo)
			})
		})
	}
}

func TestChangesOfTheInstanceAreLogged(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.wantDial()
		w.instance.SetAddrs(movedTo)
		w.wantDial()
		w.told.wantLog(slog.LevelInfo,
			map[string]string{"level": "INFO", "msg": "addresses have changed", "addresses": "127.9.0.2"},
			map[string]string{"level": "WARN", "msg": "trying again", "error": "127.9.0.1"},
		)
		time.Sleep(time.Minute)
		w.instance.RotateServerCA()
		w.wantDial()
		w.told.wantLog(slog.LevelInfo,
			map[string]string{"level": "INFO", "msg": "server CA has changed"},
			map[string]string{"level": "WARN", "msg": "trying again", "error": "does not chain to"},
		)
	})
}

func TestARefusedClientCertificateIsAWarning(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		w.instance.RotateClientCA()
		if err := w.dial(time.Minute); err == nil {
			t.Fatal("the fault did not happen")
		}
		w.told.wantLog(slog.LevelInfo, map[string]string{"level": "WARN", "msg": "refuses the client certificate", "instance": testInstance})
		w.wantDial()
		w.told.wantLog(slog.LevelInfo, map[string]string{"level": "INFO", "msg": "accepts the client certificate again"})
	})
}

func TestADNSNameThatLeadsElsewhereIsLoggedOnce(t *testing.T) {
	inFailoverWorld(t, func(t *testing.T, w *world, n *names) {
		w.wantConn(testDomain)
		w.wantConn(testDomain)
		n.set(otherInstance, errors.New("DNS is down"))
		time.Sleep(30*time.Second + time.Millisecond)
		w.told.wantLog(slog.LevelInfo, map[string]string{"level": "WARN", "msg": "looking up", "domain": testDomain, "error": "DNS is down"})
		n.set(otherInstance, nil)
		time.Sleep(5 * time.Minute) // their owners do not close them
		w.told.wantLog(slog.LevelInfo, map[string]string{
			"level": "INFO", "msg": "leads to another instance", "domain": testDomain, "instance": otherInstance, "connections": "2",
		})
	})
}

// silent is a slog.Handler that is off, and a failure if it is used all the
// same.
type silent struct{ t *testing.T }

func (silent) Enabled(context.Context, slog.Level) bool { return false }

func (s silent) Handle(_ context.Context, r slog.Record) error {
	s.t.Errorf("a record was made: %s", r.Message)
	return nil
}

func (s silent) WithAttrs(attrs []slog.Attr) slog.Handler {
	s.t.Errorf("attributes were made: %v", attrs)
	return s
}

func (s silent) WithGroup(string) slog.Handler { return s }

func TestADisabledLogMakesNoRecords(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{Addrs: publicOnly}, func(t *testing.T, w *world) {
		w.dialer = w.newDialer(cloudsqlconn.WithLogger(slog.New(silent{t})))
		w.wantDial()
		w.instance.SetAddrs(movedTo)
		w.wantDial()
		w.fault.Store(status(503))
		time.Sleep(35 * time.Minute)
		w.wantFaults()
		w.instance.RotateClientCA()
		if err := w.dial(time.Minute); err == nil {
			t.Fatal("the fault did not happen")
		}
	})
}

// slowHandler logs through the Dialer that it belongs to.
type slowHandler struct {
	silent
	log func()
}

func (*slowHandler) Enabled(context.Context, slog.Level) bool        { return true }
func (h *slowHandler) WithAttrs([]slog.Attr) slog.Handler            { h.log(); return h }
func (h *slowHandler) Handle(_ context.Context, _ slog.Record) error { h.log(); return nil }

// DESIGN, no callback is called with a lock held.
func TestALogHandlerMayUseTheDialer(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		h := &slowHandler{log: func() { w.dialer.Instances() }}
		w.dialer = w.newDialer(cloudsqlconn.WithLogger(slog.New(h)))
		w.wantDial()
	})
}

// F30
func TestNilObserversAreRefused(t *testing.T) {
	t.Parallel()
	_, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithLogger(nil), cloudsqlconn.WithTracerProvider(nil), cloudsqlconn.WithMeterProvider(nil))
	if !errors.Is(err, cloudsqlconn.ErrConfig) {
		t.Fatalf("got %v, want ErrConfig", err)
	}
	for _, want := range []string{"WithLogger", "WithTracerProvider", "WithMeterProvider"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}

// F40
func TestWhatTheWitnessHearsIsEverything(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.wantDial()
		heard := w.told.all()
		for _, want := range []string{"refresh begins", "handshake", "db.system.name", "cloudsqlconn.io", testInstance} {
			if !strings.Contains(heard, want) {
				t.Errorf("a search for secrets would not have seen %s", want)
			}
		}
	})
}
