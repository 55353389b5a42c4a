package cloudsqltest_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

func TestStatusEndsAStreamAtEachPoint(t *testing.T) {
	refusals := map[string]*status.Status{
		"edition":           cloudsqltest.StreamStatus(codes.FailedPrecondition, cloudsqltest.EditionRefusal, "", 0),
		"edition, colon":    cloudsqltest.StreamStatus(codes.FailedPrecondition, cloudsqltest.EditionRefusal+": ENTERPRISE", "", 0),
		"reason only":       cloudsqltest.StreamStatus(codes.FailedPrecondition, "No.", "UNSUPPORTED_INSTANCE_TYPE", 0),
		"connect tunnel":    cloudsqltest.StreamStatus(codes.FailedPrecondition, cloudsqltest.TunnelRefusal, "", 0),
		"invalid ack":       cloudsqltest.StreamStatus(codes.FailedPrecondition, "The ack is invalid.", "INVALID_ACK", 0),
		"exhausted":         cloudsqltest.StreamStatus(codes.ResourceExhausted, "Too many.", "", 0),
		"exhausted, retry":  cloudsqltest.StreamStatus(codes.ResourceExhausted, "Too many.", "", 7*time.Second),
		"permission denied": status.New(codes.PermissionDenied, "No."),
		"unauthenticated":   status.New(codes.Unauthenticated, "Who?"),
		"not found":         status.New(codes.NotFound, "Where?"),
		"unimplemented":     status.New(codes.Unimplemented, "What?"),
		"unavailable":       status.New(codes.Unavailable, "Not now."),
		"disconnected":      cloudsqltest.StreamStatus(codes.Aborted, "Lost.", "DISCONNECTED", 0),
	}
	for name, want := range refusals {
		for _, at := range []cloudsqltest.StreamPoint{cloudsqltest.AtOpen, cloudsqltest.AfterMetadata, cloudsqltest.AfterData} {
			t.Run(name+" "+at.String(), func(t *testing.T) {
				streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
					f := &cloudsqltest.StreamFault{Times: 1, Status: want, At: at}
					c.p.SetStreamFault(f)
					stream := c.start(session())
					if at != cloudsqltest.AtOpen && stream.receive().Metadata == nil {
						t.Error("the metadata is not there")
					}
					if at == cloudsqltest.AfterData {
						stream.echo()
					}
					got := stream.wantEnd(want.Code(), want.Message())
					if len(got.Details()) != len(want.Details()) {
						t.Errorf("the details are %v", got.Details())
					}
					c.wantHits(f, 1)
					if r := c.last(); r.Fault != f || r.Status.Code() != want.Code() {
						t.Errorf("the record is %+v", r)
					}
					c.open().echo()
					c.wantHits(f, 1)
				})
			})
		}
	}
}

func TestStatusHasItsDetails(t *testing.T) {
	t.Parallel()
	for _, d := range cloudsqltest.StreamStatus(codes.ResourceExhausted, "", "DISCONNECTED", 7*time.Second).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.Reason != wire.Disconnected || d.Domain != wire.ErrorDomain {
				t.Errorf("got %v", d)
			}
		case *errdetails.RetryInfo:
			if d.RetryDelay.AsDuration() != 7*time.Second {
				t.Errorf("got %v", d)
			}
		default:
			t.Errorf("got a %T", d)
		}
	}
}

func TestStreamHasALifetime(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.p.SetStreamFault(&cloudsqltest.StreamFault{Status: status.New(codes.DeadlineExceeded, "old"), At: cloudsqltest.AfterMetadata, After: time.Hour})
		start := time.Now()
		stream := c.open()
		time.Sleep(59 * time.Minute)
		stream.echo()
		stream.wantEnd(codes.DeadlineExceeded, "old")
		took(t, start, time.Hour)

		c.p.SetStreamFault(&cloudsqltest.StreamFault{Status: status.New(codes.Unavailable, "tired"), At: cloudsqltest.AfterData, After: time.Minute})
		stream = c.open()
		time.Sleep(time.Hour)
		start = time.Now()
		stream.echo()
		stream.wantEnd(codes.Unavailable, "tired")
		took(t, start, time.Minute)
	})
}

func TestAnswerIsLate(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		f := &cloudsqltest.StreamFault{Delay: 3 * time.Second}
		c.p.SetStreamFault(f)
		start := time.Now()
		c.open().echo()
		took(t, start, 3*time.Second)
		f = &cloudsqltest.StreamFault{Delay: 2 * time.Second, Status: status.New(codes.Unavailable, "late"), After: time.Second}
		c.p.SetStreamFault(f)
		start = time.Now()
		c.start(session()).wantEnd(codes.Unavailable, "late")
		took(t, start, 3*time.Second)
		c.wantHits(f, 1)
	})
}

func TestHangReadsAndSaysNothing(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		f := &cloudsqltest.StreamFault{Hang: true}
		c.s.OnStream = func(r cloudsqltest.Stream) *cloudsqltest.StreamFault {
			if r.Instance == session().Instance {
				return f
			}
			return nil
		}
		stream := c.start(session())
		got := make(chan error, 1)
		go func() { got <- stream.RecvMsg(new(wire.Response)) }()
		for range 100 {
			stream.write(strings.Repeat("x", 30_000))
		}
		synctest.Wait()
		if r := c.last(); len(got) != 0 || r.Received != 3_000_000 || r.Metadata {
			t.Errorf("%d answers, record %+v", len(got), r)
		}
		stream.cancel()
		if err := <-got; status.Code(err) != codes.Canceled {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if !c.last().Canceled {
			t.Errorf("the record is %+v", c.last())
		}
		c.wantHits(f, 1)
	})
}

func TestMetadataComesWithDataOrNever(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.p.SetStreamFault(&cloudsqltest.StreamFault{Metadata: cloudsqltest.MetadataWithData})
		stream := c.start(session())
		synctest.Wait()
		if c.last().Metadata {
			t.Error("the metadata has come before any data")
		}
		stream.write("hello")
		if stream.receive().Metadata == nil || stream.read(5) != "hello" {
			t.Error("want the metadata, and the data")
		}
		c.p.SetStreamFault(&cloudsqltest.StreamFault{Metadata: cloudsqltest.MetadataNever})
		c.start(session()).echo()
		if c.last().Metadata {
			t.Error("the metadata has come")
		}
	})
}

func TestServiceStopsReading(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.p.SetStreamFault(&cloudsqltest.StreamFault{StopReading: true})
		stream := c.open()
		got := make(chan error, 1)
		go func() {
			for {
				m, _ := wire.NewRequest(make([]byte, 30_000))
				if err := stream.SendMsg(m); err != nil {
					got <- err
					return
				}
			}
		}()
		synctest.Wait()
		if len(got) != 0 || c.last().Messages != 1 {
			t.Errorf("the record is %+v", c.last())
		}
		stream.cancel()
		<-got
		synctest.Wait()
		if !c.last().Canceled {
			t.Errorf("the record is %+v", c.last())
		}
	})
}

func TestServiceFloods(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.p.SetStreamFault(&cloudsqltest.StreamFault{Flood: 1 << 20})
		stream := c.open()
		synctest.Wait()
		if sent := c.last().Sent; sent == 0 || sent > 4<<20 {
			t.Errorf("%d bytes have been sent to a client that reads none", sent)
		}
		for range 8 {
			if m := stream.receive(); m.Data == nil || m.Data.Len() != 1<<20 {
				t.Errorf("got %+v", m)
			}
		}
		stream.cancel()
		c.p.SetStreamFault(&cloudsqltest.StreamFault{Flood: 101 << 20, FloodMessages: 1})
		stream = c.open()
		if m := stream.receive(); m.Data == nil || m.Data.Len() != 101<<20 {
			t.Error("want a message of 101 MiB")
		}
		stream.echo()
	})
}

func TestNoiseAndSizesOfMessages(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.p.SetStreamFault(&cloudsqltest.StreamFault{Noise: true, Chunk: 1})
		stream := c.open()
		stream.write("ab")
		for _, want := range "ab" {
			if m := stream.receive(); m.Data != nil || m.Metadata != nil || m.Terminate != nil || m.Ack != nil {
				t.Errorf("got %+v, want one of a kind that is not known", m)
			}
			if m := stream.receive(); m.Data == nil || m.Data.Len() != 0 {
				t.Errorf("got %+v, want empty data", m)
			}
			if m := stream.receive(); m.Data != nil || m.Ack == nil || *m.Ack != 2 {
				t.Errorf("got %+v, want an ack of 2", m)
			}
			if m := stream.receive(); m.Data.Len() != 1 {
				t.Errorf("got %d bytes, want 1", m.Data.Len())
			} else if b, _ := io.ReadAll(m.Data); string(b) != string(want) {
				t.Errorf("got %q", b)
			}
		}
	})
	t.Run("large", func(t *testing.T) {
		large := strings.Repeat("x", 200<<10)
		handler := func(c net.Conn) { _, _ = io.WriteString(c, large); _, _ = io.Copy(io.Discard, c) }
		streamsInMemory(t, cloudsqltest.Instance{Handler: handler}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
			synctest.Wait()
			c.p.SetStreamFault(&cloudsqltest.StreamFault{Chunk: 1 << 20, Flood: 1, FloodMessages: 1})
			stream := c.open()
			if got := stream.read(1); got != "\x00" {
				t.Errorf("got %q", got)
			}
			if got := stream.read(len(large)); got != large {
				t.Error("the data is not what it was")
			}
		})
	})
}

func TestDatabaseEndsInThreeWays(t *testing.T) {
	bye := func(c net.Conn) { _, _ = io.WriteString(c, "bye") }
	for end, code := range map[cloudsqltest.StreamEnd]codes.Code{cloudsqltest.EndCanceled: codes.Canceled, cloudsqltest.EndTerminate: codes.OK, cloudsqltest.EndOK: codes.OK} {
		t.Run(end.String(), func(t *testing.T) {
			streamsInMemory(t, cloudsqltest.Instance{Handler: bye}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
				c.p.SetStreamFault(&cloudsqltest.StreamFault{End: end})
				stream := c.open()
				if got := stream.read(3); got != "bye" {
					t.Errorf("got %q", got)
				}
				if end == cloudsqltest.EndTerminate && stream.receive().Terminate == nil {
					t.Error("no terminate_session")
				}
				if end == cloudsqltest.EndCanceled {
					stream.wantEnd(code, "DB_SERVER_CLOSED")
				}
				stream.wantEnd(code)
				if got := c.last(); got.Status.Code() != code || got.Canceled || got.Lost {
					t.Errorf("the record is %+v", got)
				}
			})
		})
	}
}

func TestClientEndsInFourWays(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(c *streams, s *rawStream)
		want func(cloudsqltest.Stream) bool
	}{
		"half-close":        {func(_ *streams, s *rawStream) { _ = s.CloseSend() }, func(r cloudsqltest.Stream) bool { return r.HalfClosed && !r.Canceled && !r.Lost && !r.Terminated }},
		"terminate_session": {func(_ *streams, s *rawStream) { s.send(&wire.Request{Terminate: status.New(codes.OK, "bye").Proto()}) }, func(r cloudsqltest.Stream) bool { return r.Terminated && !r.HalfClosed && !r.Canceled && !r.Lost }},
		"RST_STREAM":        {func(_ *streams, s *rawStream) { s.cancel() }, func(r cloudsqltest.Stream) bool { return r.Canceled && !r.HalfClosed && !r.Lost && !r.Terminated }},
		"TCP":               {func(c *streams, _ *rawStream) { c.d.CutConnections(false) }, func(r cloudsqltest.Stream) bool { return r.Lost && !r.HalfClosed && !r.Canceled && !r.Terminated }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan string, 1)
				handler := func(c net.Conn) { b, _ := io.ReadAll(c); ended <- string(b) }
				c := newStreams(t, cloudsqltest.NewMemoryServer(), cloudsqltest.Instance{Handler: handler}, cloudsqltest.SQLDataConfig{})
				defer c.close()
				stream := c.open()
				stream.write("last words")
				synctest.Wait()
				tt.end(c, stream)
				if got := <-ended; got != "last words" {
					t.Errorf("the database has read %q", got)
				}
				synctest.Wait()
				if r := c.last(); !tt.want(r) || r.Received != 10 {
					t.Errorf("the record is %+v", r)
				}
				_ = stream.RecvMsg(new(wire.Response))
			})
		})
	}
}

func TestStreamsAreEndedOnDemand(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		all := []*rawStream{c.open(), c.open(), c.open()}
		if n := c.p.EndStreams(cloudsqltest.StreamStatus(codes.ResourceExhausted, "enough", "", time.Minute)); n != 3 {
			t.Errorf("%d streams", n)
		}
		for _, s := range all {
			s.wantEnd(codes.ResourceExhausted, "enough")
		}
		synctest.Wait()
		if n := c.p.EndStreams(status.New(codes.Internal, "")); n != 0 {
			t.Errorf("%d streams", n)
		}
		stream := c.open()
		if n := c.p.CutConnections(true); n != 1 {
			t.Errorf("%d connections", n)
		}
		stream.wantEnd(codes.Aborted, "DISCONNECTED")
		stream = c.open()
		c.p.Stop()
		stream.wantEnd(codes.Aborted, "DISCONNECTED")
		c.start(session()).wantEnd(codes.Aborted, "DISCONNECTED")
		c.p.Start()
		c.open().echo()
		if n := c.p.Counts(); n.Cut != 2 || n.Refused != 1 || n.Streams != 6 {
			t.Errorf("got %+v", n)
		}
	})
}

func TestDatabaseThatIsDownIsUnavailable(t *testing.T) {
	text := logged(t)
	c := newStreams(t, cloudsqltest.NewServer(), cloudsqltest.Instance{Backend: "/nowhere"}, cloudsqltest.SQLDataConfig{})
	defer c.close()
	c.open().wantEnd(codes.Unavailable, "database")
	if c.p.Counts().Unserved != 1 || !strings.Contains(text(), "backend") {
		t.Errorf("got %+v, log %s", c.p.Counts(), text())
	}
}

func TestStreamEndsWithItsGRPCTimeout(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		s := session()
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+c.s.Token(), "x-goog-request-params", s.RoutingHeader()), 30*time.Second)
		defer cancel()
		start := time.Now()
		raw, err := c.cc.NewStream(ctx, &wire.Desc, wire.Path)
		wantNil(t, err)
		stream := &rawStream{t, raw, cancel}
		stream.send(&wire.Request{Start: &s})
		stream.wantEnd(codes.DeadlineExceeded)
		took(t, start, 30*time.Second)
		synctest.Wait()
		if got := c.last(); got.Timeout != 30*time.Second {
			t.Errorf("the record is %+v", got)
		}
	})
}
