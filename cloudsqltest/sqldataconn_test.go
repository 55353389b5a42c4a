package cloudsqltest_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// pinging makes a client send a ping when nothing has come for so long.
func pinging(every time.Duration) grpc.DialOption {
	return grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: every, Timeout: 10 * time.Second})
}

func TestStreamBeyondTheLimitWaits(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{MaxStreams: 3}, func(t *testing.T, c *streams) {
		first := c.open()
		c.open()
		c.open()
		got := make(chan *rawStream)
		go func() { got <- c.open() }()
		synctest.Wait()
		if n := len(c.d.Streams()); n != 3 {
			t.Errorf("%d streams", n)
		}
		wantNil(t, first.CloseSend())
		first.wantEnd(codes.Canceled)
		(<-got).echo()
		if n := c.d.Counts(); n.Accepted != 1 {
			t.Errorf("got %+v", n)
		}
	})
}

func TestGoAwayWithGraceLetsStreamsGoOn(t *testing.T) {
	streamsOnBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *streams) {
		old := c.open()
		if n := c.d.GoAway(time.Hour); n != 1 {
			t.Errorf("%d connections", n)
		}
		old.echo() // so the client has read the GOAWAY
		next := c.open()
		next.echo()
		old.echo()
		if n := c.d.Counts(); n.Accepted != 2 || n.GoneAway != 1 || n.Cut != 0 {
			t.Errorf("got %+v", n)
		}
		if all := c.d.Streams(); all[0].Client == all[1].Client {
			t.Error("the new stream is on the old connection")
		}
		// The client leaves the old connection after its last stream.
		wantNil(t, old.CloseSend())
		old.wantEnd(codes.Canceled)
		next.echo()
	})
}

func TestGoAwayEndsStreamsAfterTheGrace(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Minute} {
		t.Run(grace.String(), func(t *testing.T) {
			streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
				stream := c.open()
				start := time.Now()
				c.d.GoAway(grace)
				stream.wantEnd(codes.Unavailable, "session_timed_out")
				took(t, start, grace)
				synctest.Wait()
				if n := c.d.Counts(); n.GoneAway != 1 || n.Cut != 1 || !c.last().Lost {
					t.Errorf("got %+v, record %+v", n, c.last())
				}
				c.open().echo()
			})
		})
	}
}

// A GOAWAY is a frame of its own, whatever is being sent.
func TestGoAwayComesBetweenFrames(t *testing.T) {
	streamsOnBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *streams) {
		c.p.SetStreamFault(&cloudsqltest.StreamFault{Flood: 100_001, FloodMessages: 50})
		stream := c.open()
		for range 50 {
			if m := stream.receive(); m.Data == nil || m.Data.Len() != 100_001 {
				t.Fatalf("got %+v", m)
			}
			c.d.GoAway(time.Hour)
		}
		stream.echo()
	})
}

func TestConnectionsAreCut(t *testing.T) {
	for name, withReset := range map[string]bool{"FIN": false, "RST": true} {
		t.Run(name, func(t *testing.T) {
			streamsOnBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *streams) {
				one, two := c.open(), c.open()
				if n := c.d.CutConnections(withReset); n != 1 {
					t.Errorf("%d connections", n)
				}
				one.wantEnd(codes.Unavailable)
				two.wantEnd(codes.Unavailable)
				eventually(func() bool { return c.last().Lost }, true)
				c.open().echo()
				if n := c.d.Counts(); n.Cut != 1 {
					t.Errorf("got %+v", n)
				}
			})
		})
	}
}

func TestBlackHoleIsNoticedByPingsOnly(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		silent := c.open()
		first := c.cc
		defer first.Close()
		c.cc = c.connect(pinging(30 * time.Second))
		stream := c.open()
		if n := c.d.BlackHole(); n != 2 {
			t.Errorf("%d connections", n)
		}
		start := time.Now()
		stream.wantEnd(codes.Unavailable, "keepalive")
		took(t, start, 40*time.Second)
		if n := c.d.Counts(); n.BlackHoled != 2 {
			t.Errorf("got %+v", n)
		}
		c.open().echo()

		silent.write("hello")
		got := make(chan error, 1)
		go func() { got <- silent.RecvMsg(new(wire.Response)) }()
		time.Sleep(5 * time.Hour) // the service's pings do not end it either
		select {
		case err := <-got:
			t.Errorf("got %v", err)
		default:
			silent.cancel()
			<-got
		}
	})
}

func TestPingsAreAnsweredForHours(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.reconnect(pinging(30 * time.Second))
		stream := c.open()
		time.Sleep(5 * time.Hour)
		stream.echo()
		if n := c.d.Counts(); n.Pings < 590 || n.Pings > 610 || n.TooManyPings != 0 || n.Accepted != 1 {
			t.Errorf("got %+v", n)
		}
	})
}

func TestTooManyPingsEndTheConnection(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{MinPingInterval: time.Minute}, func(t *testing.T, c *streams) {
		c.reconnect(pinging(30 * time.Second))
		stream := c.open()
		start := time.Now()
		stream.wantEnd(codes.Unavailable, "too_many_pings")
		if took := time.Since(start); took > 5*time.Minute {
			t.Errorf("it took %v", took)
		}
		if n := c.d.Counts(); n.TooManyPings != 1 || n.Pings < 3 {
			t.Errorf("got %+v", n)
		}
	})
}

func TestConnectionsToTheServiceMisbehave(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		for b, counted := range map[cloudsqltest.Behavior]func(cloudsqltest.SQLDataCounts) int{
			cloudsqltest.Silent:      func(n cloudsqltest.SQLDataCounts) int { return n.Silent },
			cloudsqltest.Unreachable: func(n cloudsqltest.SQLDataCounts) int { return n.Swallowed },
			cloudsqltest.CloseAtOnce: func(n cloudsqltest.SQLDataCounts) int { return n.Dropped },
			cloudsqltest.ResetAtOnce: func(n cloudsqltest.SQLDataCounts) int { return n.Dropped },
		} {
			c.d.SetBehavior(b)
			before := counted(c.d.Counts())
			cc := c.connect()
			stream, err := cc.NewStream(t.Context(), &wire.Desc, wire.Path)
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%v: got %v, %v", b, stream, err)
			}
			wantNil(t, cc.Close())
			if counted(c.d.Counts()) == before {
				t.Errorf("%v is not counted: %+v", b, c.d.Counts())
			}
		}
		c.d.SetBehavior(cloudsqltest.Healthy)
		c.open().echo()
	})
}

func TestServiceStartsAgainAfterClose(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		stream := c.open()
		c.d.Close()
		c.d.Close()
		stream.wantEnd(codes.Unavailable)
		if _, err := c.cc.NewStream(t.Context(), &wire.Desc, wire.Path); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
		if n := c.d.Counts(); n.Refused == 0 {
			t.Errorf("got %+v", n)
		}
		c.d = c.s.ServeSQLData(cloudsqltest.SQLDataConfig{TLS: true})
		c.reconnect()
		c.open().echo()
	})
}

func TestServingTwiceIsAMistake(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		defer func() {
			if r, _ := recover().(string); !strings.Contains(r, "SQL Data is served") {
				t.Errorf("got %v", r)
			}
		}()
		c.s.ServeSQLData(cloudsqltest.SQLDataConfig{})
	})
}

func TestStreamsAndFaultsAtOnce(t *testing.T) {
	t.Parallel()
	c := newStreams(t, cloudsqltest.NewServer(), cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{TLS: true})
	defer c.close()
	s := session()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+c.s.Token(), "x-goog-request-params", s.RoutingHeader())
	try := func() error {
		cc := c.connect()
		defer cc.Close()
		stream, err := cc.NewStream(ctx, &wire.Desc, wire.Path)
		if err != nil {
			return err
		}
		_ = stream.SendMsg(&wire.Request{Start: &s})
		_ = stream.CloseSend()
		for err == nil {
			err = stream.RecvMsg(new(wire.Response))
		}
		return err
	}
	var clients, faults sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for range 20 {
				switch err := try(); status.Code(err) {
				case codes.Unavailable, codes.Internal, codes.Aborted, codes.Canceled:
				default:
					t.Error(err)
				}
			}
		})
	}
	for _, f := range []func(){
		func() { c.d.CutConnections(true) },
		func() { c.d.CutConnections(false) },
		func() { c.d.GoAway(time.Millisecond) },
		func() { c.p.EndStreams(status.New(codes.Internal, "now")) },
		func() { c.p.CutConnections(false) },
		func() { c.d.Streams(); c.d.Counts() },
	} {
		faults.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					f()
					runtime.Gosched()
				}
			}
		})
	}
	clients.Wait()
	close(done)
	faults.Wait()
}
