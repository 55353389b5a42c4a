package faults_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// With Google's connector every refusal appears in the first Read, when the Dial
// is over that could have tried again.
func TestADialWaitsThroughWhatPasses(t *testing.T) {
	for name, do := range map[string]script{
		"unavailable":       refuses(codes.Unavailable, "try again"),
		"instance lost":     refuses(codes.Aborted, wire.Disconnected),
		"internal":          refuses(codes.Internal, "stream error"),
		"deadline":          refuses(codes.DeadlineExceeded, "upstream timeout"),
		"connection broken": nil, // before the service has seen anything
	} {
		t.Run(name, func(t *testing.T) {
			var first script = echoes
			if do != nil {
				first = then(3, do, echoes)
			}
			inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, first, func(t *testing.T, w *world, s *sqlDataService) {
				if do == nil {
					s.down.Store(true)
					time.AfterFunc(3*time.Second, func() { s.down.Store(false) })
				}
				w.wantDial()
				if do != nil {
					s.wantStreams(4)
				} else if s.dials.Load() < 3 {
					t.Errorf("%d connections", s.dials.Load())
				}
				if n := len(w.told.records(slog.LevelWarn)); n < 3 {
					t.Errorf("%d records in the log, want one for each failure", n)
				}
				streams := s.begun()
				for i := range streams[1:] {
					if pause := streams[i+1].began.Sub(streams[i].began); pause < 100*time.Millisecond<<i {
						t.Errorf("try %d came after %v", i+2, pause)
					}
				}
			})
		})
	}
}

// Google's connector says "Canceled: context canceled" when the time is over.
func TestADialWhoseTimeIsOverTellsTheLastFailure(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, refuses(codes.Unavailable, "try again"), func(t *testing.T, w *world, s *sqlDataService) {
		e := w.wantError(context.DeadlineExceeded, 10*time.Second)
		if errors.Is(e, context.Canceled) || !strings.Contains(e.Error(), "Unavailable: try again") || e.Op != "stream" {
			t.Errorf("got %v", e)
		}
		if n := len(s.begun()); n < 5 || n > 12 {
			t.Errorf("%d tries in 10 s", n)
		}
		a := attributes(w.told.named("stream")[0].Attributes())
		if a["rpc.response.status_code"] != "UNAVAILABLE" {
			t.Errorf("the span: %v", a)
		}
	})
}

// What does not pass is told at once.
func TestRefusalsAreNotTriedAgain(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.PermissionDenied: cloudsqlconn.ErrPermission, codes.Unauthenticated: cloudsqlconn.ErrPermission, codes.NotFound: cloudsqlconn.ErrNotFound,
		codes.InvalidArgument: cloudsqlconn.ErrConfig, codes.Unimplemented: cloudsqlconn.ErrConfig, codes.OutOfRange: errAny,
	} {
		t.Run(code.String(), func(t *testing.T) {
			inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, refuses(code, "no"), func(t *testing.T, w *world, s *sqlDataService) {
				err := w.dial(ample)
				if err == nil || want != errAny && !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
				s.wantStreams(1)
			})
		})
	}
}

func busy(asked time.Duration) script {
	if asked > 0 {
		return refuses(codes.ResourceExhausted, "busy", &errdetails.RetryInfo{RetryDelay: durationpb.New(asked)})
	}
	return refuses(codes.ResourceExhausted, "busy")
}

// A pool of 6 that is refused together is left alone by Google's connector for
// 43 s: each connection is a step.
func TestABurstOfRefusalsIsOneStepOfTheCooldown(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, busy(0), func(t *testing.T, w *world, s *sqlDataService) {
		parallel(20, func(int) {
			e := w.dial(2 * time.Second)
			if hint := cloudsqlconn.Hint(e); e == nil || !strings.Contains(e.Error(), "ResourceExhausted: busy; it will not be asked for another ") || !strings.Contains(hint, "It is asked again in ") {
				t.Errorf("got %v; %s", e, hint)
			}
		})
		s.wantStreams(20)
		until := w.dialer.Instances()[0].SQLDataCooldown
		if left := time.Until(until); left < 4*time.Second || left > 8100*time.Millisecond {
			t.Errorf("the cooldown lasts for %v", left)
		}
		if n := len(w.told.records(slog.LevelWarn)); n != 1 {
			t.Errorf("%d records in the log, want 1", n)
		}
		// One that has no time for it fails at once, without a stream.
		if d := took(func() { _ = w.dial(time.Second) }); d != 0 {
			t.Errorf("it took %v", d)
		}
		s.wantStreams(20)
		// The others wait for the end, and do not come all at once.
		s.does(echoes)
		parallel(20, func(int) { w.wantDial() })
		streams := s.begun()[20:]
		if len(streams) != 20 || streams[0].began.Before(until) || streams[19].began.Sub(streams[0].began) < 100*time.Millisecond {
			t.Errorf("%d streams from %v to %v, after the end at %v", len(streams), streams[0].began, streams[len(streams)-1].began, until)
		}
		if st := w.dialer.Instances()[0]; !st.SQLDataCooldown.IsZero() {
			t.Errorf("the cooldown goes on until %v", st.SQLDataCooldown)
		}
		last := w.told.named("cloudsqlconn.Dial")[0]
		if a := attributes(last.Attributes()); a["error.type"] != "quota" {
			t.Errorf("the Dial's span: %v", a)
		}
	})
}

func TestTheServiceSaysHowLongItWantsToBeLeftAlone(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, then(1, busy(17*time.Second), echoes), func(t *testing.T, w *world, s *sqlDataService) {
		if d := took(func() { w.wantDial() }); d < 17*time.Second || d > 20*time.Second { // within the time it has
			t.Errorf("it took %v", d)
		}
		s.wantStreams(2)
	})
}

func TestACooldownBeginsInTheMiddleOfASession(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, func(s *sqlDataStream) error {
		_ = s.accept()
		_, _ = s.Write([]byte("x"))
		s.sleep(time.Minute)
		return grpcstatus.Error(codes.ResourceExhausted, "busy")
	}, func(t *testing.T, w *world, s *sqlDataService) {
		c := w.mustDial()
		defer c.Close()
		b, err := io.ReadAll(c)
		if string(b) != "x" || !strings.Contains(err.Error(), "it will not be asked for another") {
			t.Errorf("%q, %v", b, err)
		}
		if w.dialer.Instances()[0].SQLDataCooldown.IsZero() {
			t.Error("there is no cooldown")
		}
		_ = w.dial(time.Second)
		s.wantStreams(1)
	})
}

// database/sql connects again if driver.ErrBadConn is in an error, and does once
// more what it was about to do: that must be so only while nothing was done.
func TestAStreamThatBreaksMayBeTriedAgainBeforeItsFirstByte(t *testing.T) {
	for name, c := range map[string]struct {
		do      script
		bad     bool
		op, err string
		hint    string
	}{
		"before the first byte": {func(s *sqlDataStream) error {
			_ = s.accept()
			return grpcstatus.Error(codes.Unavailable, "gone")
		}, true, "stream", "Unavailable: gone", "when it connects again"},
		"after it": {func(s *sqlDataStream) error {
			_ = s.accept()
			_, _ = s.Write([]byte("x"))
			return grpcstatus.Error(codes.Aborted, "lost the instance "+wire.Disconnected)
		}, false, "stream", "Aborted: lost the instance", "Connect again"},
		"at the end of its lifetime": {func(s *sqlDataStream) error {
			_ = s.accept()
			return grpcstatus.Error(codes.DeadlineExceeded, "too old")
		}, false, "stream", "DeadlineExceeded: too old", "SetConnMaxLifetime"},
	} {
		t.Run(name, func(t *testing.T) {
			inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, c.do, func(t *testing.T, w *world, _ *sqlDataService) {
				conn := w.mustDial()
				defer conn.Close()
				_, err := io.ReadAll(conn)
				var e *cloudsqlconn.Error
				if !errors.As(err, &e) || e.Op != c.op || !strings.Contains(err.Error(), c.err) || errors.Is(err, driver.ErrBadConn) != c.bad || !strings.Contains(e.Hint, c.hint) {
					t.Errorf("got %v (ErrBadConn: %v); %s", err, errors.Is(err, driver.ErrBadConn), cloudsqlconn.Hint(err))
				}
			})
		})
	}
}

// A function of WithDialFunc that ignores its context holds up nobody.
func TestADialFuncThatHangsDoesNotHoldUpAStream(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, s *sqlDataService) {
		end := make(chan struct{})
		var hung atomic.Int64
		hangs := cloudsqlconn.WithDialFunc(func(context.Context, string, string) (net.Conn, error) {
			hung.Add(1)
			<-end
			return nil, errors.New("at last")
		})
		if d := took(func() { _ = w.wantError(context.DeadlineExceeded, 3*time.Second, hangs) }); d > 3100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if hung.Load() == 0 {
			t.Error("the fault did not happen")
		}
		close(end)
		synctest.Wait()
	})
}

// streamFailures are those of SQL Data, for the golden file.
var streamFailures = []failure{
	{name: "no source of tokens", fail: func(w *world) error {
		w.onlyWith()
		return w.dial(ample, cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataOnly))
	}},
	streamFailure("another edition", refuses(codes.FailedPrecondition, wire.EditionRefusal+": ENTERPRISE")),
	streamFailure("no connect tunnel", refuses(codes.FailedPrecondition, wire.TunnelRefusal)),
	streamFailure("another precondition", refuses(codes.FailedPrecondition, "the moon is full")),
	streamFailure("no permission", refuses(codes.PermissionDenied, "no")),
	streamFailure("the API is not enabled", refuses(codes.PermissionDenied, "SQL Admin API is disabled",
		&errdetails.ErrorInfo{Reason: "SERVICE_DISABLED", Domain: "googleapis.com", Metadata: map[string]string{"consumer": "projects/12345"}})),
	streamFailure("a service that echoes the token, in many lines", func(s *sqlDataStream) error {
		return grpcstatus.Errorf(codes.PermissionDenied, "no:\r\n\x1b[31m%v\n%s", s.header.Get("authorization"), "and more")
	}),
	streamFailure("a bad token", refuses(codes.Unauthenticated, "who are you")),
	streamFailure("no such instance", refuses(codes.NotFound, "no such instance")),
	streamFailure("another region", refuses(codes.InvalidArgument, "location_id is wrong")),
	streamFailure("another service", refuses(codes.Unimplemented, "unknown service "+wire.Service)),
	streamFailure("a lifetime", func(s *sqlDataStream) error {
		_ = s.accept()
		s.sleep(time.Hour)
		return grpcstatus.Error(codes.DeadlineExceeded, "the stream is too old")
	}),
	streamFailure("a lost instance", func(s *sqlDataStream) error {
		_ = s.accept()
		return grpcstatus.Error(codes.Aborted, wire.Disconnected)
	}),
	streamFailure("a busy service", busy(100*time.Second)),
	streamFailure("a service that is down", refuses(codes.Unavailable, "down for maintenance")),
}

// streamFailure is a Dial that meets the script, or else what a Read returns.
func streamFailure(name string, do script) failure {
	return failure{name: name, cfg: cloudsqltest.Instance{Addrs: publicOnly}, fail: func(w *world) error {
		_, stop := w.withService(do, cloudsqlconn.SQLDataOnly)
		defer stop()
		ctx, cancel := context.WithTimeout(w.t.Context(), ample)
		defer cancel()
		c, err := w.dialer.Dial(ctx, testInstance)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.ReadAll(c)
		return err
	}}
}
