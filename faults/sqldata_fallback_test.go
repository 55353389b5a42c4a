package faults_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// Google's connector remembers a refusal until the Dialer is closed.
func TestARefusedInstanceIsReachedByAnAddressForAWhile(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, unservedScript, func(t *testing.T, w *world, s *sqlDataService) {
		until := func() time.Time { return w.dialer.Instances()[0].SQLDataUnserved }
		for range 3 {
			w.wantDial()
		}
		s.wantStreams(1)
		if left := time.Until(until()); left < 10*time.Minute-time.Second || left > 15*time.Minute {
			t.Errorf("it is remembered for %v", left)
		}
		if n := len(w.told.records(slog.LevelInfo)); n != 1 {
			t.Errorf("%d records in the log, want 1", n)
		}
		time.Sleep(9 * time.Minute)
		w.wantDial()
		s.wantStreams(1)
		time.Sleep(6 * time.Minute)
		if !until().IsZero() {
			t.Error("it is remembered for longer")
		}
		w.wantDial()
		s.wantStreams(2)

		if err := w.dialer.Warmup(t.Context(), testInstance); err != nil || !until().IsZero() {
			t.Errorf("after Warmup it is remembered until %v, %v", until(), err)
		}
		s.does(echoes)
		w.wantDial()
		s.wantStreams(3)
		if !until().IsZero() {
			t.Error("it is remembered though SQL Data serves the instance")
		}
	})
}

// What each refusal leads to. Google's connector falls back on the text of the
// edition only, that for Node on any FAILED_PRECONDITION.
func TestWhichRefusalsLeadToAnAddress(t *testing.T) {
	reason := &errdetails.ErrorInfo{Reason: wire.UnsupportedType, Domain: wire.ErrorDomain}
	for name, c := range map[string]struct {
		do   script
		mode cloudsqlconn.SQLDataMode
		want error // of the Dial; nil: there is an address
		hint string
	}{
		"the edition":                  {do: unservedScript},
		"the edition without a colon":  {do: refuses(codes.FailedPrecondition, "unsupported instance edition ENTERPRISE")},
		"a reason":                     {do: refuses(codes.FailedPrecondition, "no", reason)},
		"no connect tunnel":            {do: refuses(codes.FailedPrecondition, wire.TunnelRefusal)},
		"the edition, if asked for it": {do: unservedScript, mode: cloudsqlconn.SQLDataOnly, want: cloudsqlconn.ErrConfig, hint: "SQLDataPrefer"},
		"something else":               {do: refuses(codes.FailedPrecondition, "the moon is full"), want: errAny, hint: "SQLDataNever"},
		"an acknowledgement":           {do: refuses(codes.FailedPrecondition, "unsupported instance edition", &errdetails.ErrorInfo{Reason: wire.InvalidAck}), want: errAny},
		"no permission":                {do: refuses(codes.PermissionDenied, "no"), want: cloudsqlconn.ErrPermission, hint: "roles/cloudsql.client"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.mode == "" {
				c.mode = cloudsqlconn.SQLDataPrefer
			}
			inSQLDataWorld(t, c.mode, c.do, func(t *testing.T, w *world, s *sqlDataService) {
				err := w.dial(ample)
				switch {
				case c.want == nil && err != nil, c.want != nil && c.want != errAny && !errors.Is(err, c.want), c.want != nil && err == nil:
					t.Errorf("got %v, want %v", err, c.want)
				case err != nil && (!strings.HasPrefix(err.Error(), "cloudsqlconn: stream "+testInstance+": ") || !strings.Contains(cloudsqlconn.Hint(err), c.hint)):
					t.Errorf("got %v; %s", err, cloudsqlconn.Hint(err))
				}
				if s.wantStreams(1); err != nil {
					w.wantCalls(0)
				}
			})
		})
	}
}

var errAny = errors.New("any error")

// Google's connector remembers the refusal before the direct dial has worked.
func TestARefusalIsNotRememberedIfNoAddressLeadsToTheInstance(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, unservedScript, func(t *testing.T, w *world, s *sqlDataService) {
		w.instance.Stop()
		err := w.dial(ample)
		var e *cloudsqlconn.Error
		if !errors.As(err, &e) || e.Op != "dial" || !strings.Contains(err.Error(), "SQL Data had refused: FailedPrecondition: "+wire.EditionRefusal) {
			t.Errorf("got %v", err)
		}
		if until := w.dialer.Instances()[0].SQLDataUnserved; !until.IsZero() {
			t.Errorf("it is remembered until %v", until)
		}
		s.does(echoes)
		w.wantDial()
		s.wantStreams(2)
	})
}

// late refuses like unservedScript, but only after so long, and a client that is
// told to wait has been let go. before is what comes first.
func late(after time.Duration, before script) script {
	return func(s *sqlDataStream) error {
		if before != nil {
			if err := before(s); err != nil {
				return err
			}
		}
		s.sleep(after)
		return unservedScript(s)
	}
}

// With Google's connector the direct dial has the context of the Dial, which
// drivers end when that returns: the first Read fails with "context canceled",
// and the instance counts as refused for ever.
func TestALateRefusalLeadsToAnAddressThoughTheDialIsOver(t *testing.T) {
	for name, before := range map[string]script{"without an answer before": nil, "with an answer before": (*sqlDataStream).accept} {
		t.Run(name, func(t *testing.T) {
			inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, late(5*time.Second, before), func(t *testing.T, w *world, s *sqlDataService) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				c, err := w.dialer.Dial(ctx, testInstance)
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if info, _ := cloudsqlconn.InfoOf(c); !byStream(c) || !info.SQLData || info.EngineVersion != "" {
					t.Fatalf("the fault did not happen: %+v", info)
				}
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				_ = c.SetReadDeadline(time.Now().Add(time.Hour))
				if err := echo(c); err != nil { // written to the stream, and answered by the instance
					t.Error(err)
				}
				if byStream(c) {
					t.Error("the connection is a stream still")
				}
				if info, ok := cloudsqlconn.InfoOf(c); !ok || info.SQLData || info.IPType == "" || !strings.HasPrefix(info.EngineVersion, "POSTGRES") {
					t.Errorf("what is told of it is %+v", info)
				}
				if st := w.dialer.Instances()[0]; st.OpenConnections != 1 || st.SQLDataUnserved.IsZero() {
					t.Errorf("the status is %+v", st)
				}
				w.wantDial()
				s.wantStreams(1)
				_ = c.Close()
				if n := w.dialer.Instances()[0].OpenConnections; n != 0 {
					t.Errorf("%d open connections", n)
				}
			})
		})
	}
}

func TestALateRefusalIsToldIfSQLDataAloneWillDo(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, late(5*time.Second, nil), func(t *testing.T, w *world, _ *sqlDataService) {
		c := w.mustDial()
		defer c.Close()
		_, err := c.Read(make([]byte, 1))
		if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(cloudsqlconn.Hint(err), "SQLDataPrefer") {
			t.Errorf("got %v; %s", err, cloudsqlconn.Hint(err))
		}
		w.wantCalls(0)
	})
}

// Google's connector keeps all that is written before the first Read, which was
// 71 MiB in a test.
func TestALateRefusalAfterTooMuchWasWrittenIsAnError(t *testing.T) {
	reads := func(s *sqlDataStream) error {
		b := make([]byte, wire.MaxChunk)
		for range 4 {
			if _, err := s.Read(b); err != nil {
				return err
			}
		}
		return nil
	}
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, late(5*time.Second, reads), func(t *testing.T, w *world, _ *sqlDataService) {
		c := w.mustDial()
		defer c.Close()
		if _, err := c.Write(make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "102400 bytes had been written") {
			t.Errorf("got %v", err)
		}
		w.wantCalls(0)
	})
}

// The switch to an address belongs to the Dialer: Close ends it, and leaves
// nothing behind.
func TestCloseEndsALateSwitch(t *testing.T) {
	for name, end := range map[string]func(w *world, c net.Conn) error{
		"the Dialer's":     func(w *world, _ net.Conn) error { return w.dialer.Close() },
		"the connection's": func(_ *world, c net.Conn) error { return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, late(2*time.Second, nil), func(t *testing.T, w *world, _ *sqlDataService) {
				w.fault.Store(&cloudsqltest.Fault{Hang: true})
				c := w.mustDial()
				defer c.Close()
				read := make(chan error, 1)
				go func() {
					_, err := c.Read(make([]byte, 1))
					read <- err
				}()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				w.wantFaults()
				began := time.Now()
				if err := end(w, c); err != nil {
					t.Error(err)
				}
				err := <-read
				if !errors.Is(err, cloudsqlconn.ErrDialerClosed) && !errors.Is(err, net.ErrClosed) {
					t.Errorf("got %v", err)
				}
				if d := time.Since(began); d != 0 {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

func TestALateSwitchIsBoundedByTheDialTimeout(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, late(2*time.Second, nil), func(t *testing.T, w *world, _ *sqlDataService) {
		w.fault.Store(&cloudsqltest.Fault{Hang: true})
		c := w.mustDial(cloudsqlconn.WithDialTimeout(7 * time.Second))
		defer c.Close()
		var err error
		if d := took(func() { _, err = io.ReadAll(c) }); d > 9*time.Second {
			t.Errorf("it took %v", d)
		}
		w.wantFaults()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCheckTellsOfSQLData(t *testing.T) {
	for name, c := range map[string]struct {
		do   script
		mode cloudsqlconn.SQLDataMode
		want string // hops and results from SQL Data on, of which the first has detail
		text string
	}{
		"served": {answersPostgres, cloudsqlconn.SQLDataPrefer, "SQL Data ok, database ok", "the service accepts the session"},
		"refused": {unservedScript, cloudsqlconn.SQLDataPrefer,
			"SQL Data skipped, metadata ok, clock ok, certificate ok, TCP ok, TLS ok, database ok", "addresses are tried instead: FailedPrecondition: " + wire.EditionRefusal},
		"refused late": {late(2*time.Second, nil), cloudsqlconn.SQLDataPrefer,
			"SQL Data ok, database skipped, metadata ok, clock ok, certificate ok, TCP ok, TLS ok, database ok", "addresses are tried instead"},
		"refused for good": {unservedScript, cloudsqlconn.SQLDataOnly, "SQL Data failed, database skipped", "hint SQLDataPrefer"},
		"no permission":    {refuses(codes.PermissionDenied, "no"), cloudsqlconn.SQLDataPrefer, "SQL Data failed, database skipped", "roles/cloudsql.client"},
		"a silent database": {func(s *sqlDataStream) error {
			_ = s.accept()
			return saysNothing(s)
		}, cloudsqlconn.SQLDataOnly, "SQL Data ok, database failed", "no answer from the database"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{Addrs: publicOnly, Handler: postgres}, func(t *testing.T, w *world) {
				_, stop := w.withService(c.do, c.mode)
				defer stop()
				r := w.check(testInstance)
				var got []string
				for _, s := range r.Steps[4:] {
					got = append(got, string(s.Hop)+" "+string(s.Result))
				}
				if list := strings.Join(got, ", "); list != c.want {
					t.Errorf("got %s, want %s\n%v", list, c.want, r)
				}
				if text := r.String(); !strings.Contains(text, strings.TrimPrefix(c.text, "hint ")) {
					t.Errorf("%q is not in\n%s", c.text, text)
				}
				if until := w.dialer.Instances(); len(until) != 0 {
					t.Errorf("the check has left %+v", until)
				}
			})
		})
	}
}

// answersPostgres answers an SSLRequest.
func answersPostgres(s *sqlDataStream) error {
	_ = s.accept()
	_, err := s.Read(make([]byte, 100))
	_, _ = s.Write([]byte("N"))
	return errors.Join(err, saysNothing(s))
}
