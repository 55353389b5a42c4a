package cloudsqltest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestBehavioursHappenAndAreCounted(t *testing.T) {
	for _, tt := range []struct {
		behavior cloudsqltest.Behavior
		want     cloudsqltest.Counts
		err      error
	}{
		{cloudsqltest.Silent, cloudsqltest.Counts{Accepted: 2, Silent: 2}, context.DeadlineExceeded},
		{cloudsqltest.StallHandshake, cloudsqltest.Counts{Accepted: 2, Stalled: 2}, context.DeadlineExceeded},
		{cloudsqltest.CloseAtOnce, cloudsqltest.Counts{Accepted: 2, Dropped: 2}, io.EOF},
		{cloudsqltest.ResetAtOnce, cloudsqltest.Counts{Accepted: 2, Dropped: 2}, syscall.ECONNRESET},
		{cloudsqltest.Unreachable, cloudsqltest.Counts{Swallowed: 2}, context.DeadlineExceeded},
	} {
		t.Run(tt.behavior.String(), func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
				config := c.config()
				start := time.Now()
				c.p.SetBehaviorFor(2, tt.behavior)
				for range 2 {
					if _, err := c.connect(config); !errors.Is(err, tt.err) {
						t.Errorf("got error %v, want %v", err, tt.err)
					}
				}
				if took := time.Since(start); errors.Is(tt.err, context.DeadlineExceeded) != (took == 20*time.Second) {
					t.Errorf("took %v", took)
				}
				c.wantCounts(tt.want)
				// It has cleared by itself.
				defer c.mustConnect(config).Close()
				tt.want.Accepted++
				tt.want.Handshakes++
				c.wantCounts(tt.want)
			})
		})
	}
}

// A client with a certificate that has expired notices each of them.
func TestEveryBehaviourHasAnEffectAndARule(t *testing.T) {
	t.Parallel()
	healthy := ""
	capital := regexp.MustCompile(`(\w)([A-Z])`)
	for b := cloudsqltest.Healthy; !strings.HasSuffix(b.String(), ")"); b++ {
		kind := strings.ToLower(capital.ReplaceAllString(b.String(), "$1-$2"))
		if b != cloudsqltest.Healthy && !slices.Contains(cloudsqltest.RuleKinds(), kind) {
			t.Errorf("no rule is of the kind %s", kind)
		}
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, cloudsqltest.NewMemoryServer(), cloudsqltest.Instance{})
			defer c.s.Close()
			config := c.config()
			time.Sleep(2 * time.Hour)
			c.p.SetBehavior(b)
			conn, err := c.connect(config)
			if err == nil {
				defer conn.Close()
				synctest.Wait()
				_, err = conn.Write([]byte("hello"))
			}
			saw := fmt.Sprint(err, c.p.Counts())
			if b == cloudsqltest.Healthy {
				healthy = saw
			} else if saw == healthy {
				t.Errorf("%s does nothing: %s", b, saw)
			}
		})
	}
}

func TestInstancesThatCannotBeMeantPanic(t *testing.T) {
	t.Parallel()
	s := cloudsqltest.NewMemoryServer()
	defer s.Close()
	for want, cfg := range map[string]cloudsqltest.Instance{
		`Backend is "5432"; want host:port, such as 127.0.0.1:5432`:                                    {Backend: "5432"},
		`Backend is "localhost"; want host:port`:                                                       {Backend: "localhost"},
		`Backend is "localhost:"; want host:port`:                                                      {Backend: "localhost:"},
		`IAMBackend is "app@localhost"; want host:port, such as 127.0.0.1:5432, or the path of`:        {Backend: "127.0.0.1:5432", IAMBackend: "app@localhost"},
		`DatabaseVersion is "postgres15"; want the Admin API's name of a version, such as POSTGRES_16`: {DatabaseVersion: "postgres15"},
		`DatabaseVersion is "15"; want`:                                                                {DatabaseVersion: "15"},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, want) || !strings.Contains(text, "AddInstance(") {
					t.Errorf("panicked with %q, want %q", text, want)
				}
			}()
			s.AddInstance(instanceName, cfg)
		}()
	}
	s.AddInstance(instanceName, cloudsqltest.Instance{Backend: "/run/postgresql/.s.PGSQL.5432", DatabaseVersion: "POSTGRES_18"})
}

func TestAnInstanceWithoutADatabaseSaysOnceThatItEchoes(t *testing.T) {
	for _, tt := range []struct {
		handler func(net.Conn)
		want    int
	}{{nil, 1}, {cloudsqltest.Echo, 0}} {
		var log bytes.Buffer // read when the server is closed
		s := cloudsqltest.NewMemoryServer()
		s.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c := newClient(t, s, cloudsqltest.Instance{Handler: tt.handler})
		for range 2 {
			c.mustConnect(c.config()).Close()
		}
		s.Close()
		if n := strings.Count(log.String(), "neither Backend nor Handler"); n != tt.want {
			t.Errorf("it is said %d times, want %d: %s", n, tt.want, &log)
		}
	}
}

func TestDroppedConnectionsLookLikeThatOnSockets(t *testing.T) {
	onLoopback(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		config := c.config()
		c.p.SetBehavior(cloudsqltest.CloseAtOnce)
		if _, err := c.connect(config); !errors.Is(err, io.EOF) {
			t.Errorf("got error %v, want EOF", err)
		}
		c.p.SetBehavior(cloudsqltest.ResetAtOnce)
		if _, err := c.connect(config); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got error %v, want a reset", err)
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 2, Dropped: 2})
	})
}

func TestStoppedInstanceRefusesAndComesBack(t *testing.T) {
	onBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		config := c.config()
		conn := c.mustConnect(config)
		defer conn.Close()
		c.p.Stop()
		c.wantCounts(cloudsqltest.Counts{Accepted: 1, Handshakes: 1, Cut: 1})
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("an open connection: got %v, want EOF", err)
		}
		if c.p.Addr() != nil {
			t.Errorf("a stopped instance listens at %v", c.p.Addr())
		}
		for range 3 {
			if _, err := c.connect(config); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("got error %v, want ECONNREFUSED", err)
			}
		}
		c.p.Stop()
		c.p.Start()
		c.p.Start()
		defer c.mustConnect(config).Close() // the CAs are the same
		c.wantCounts(cloudsqltest.Counts{Accepted: 2, Handshakes: 2, Cut: 1, Refused: 3, Resumed: 0})
	})
}

func TestCutConnectionsEndOrAreReset(t *testing.T) {
	for name, tt := range map[string]struct {
		reset bool
		want  error
	}{"end": {false, io.EOF}, "reset": {true, syscall.ECONNRESET}} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
				// What the client has sent is not read: that must not make an end a reset.
				cut := make(chan struct{})
				c.s.DeleteInstance(c.p)
				c.p = c.s.AddInstance(instanceName, cloudsqltest.Instance{Handler: func(conn net.Conn) {
					_, _ = conn.Write(make([]byte, 1))
					<-cut
				}})
				config := c.config()
				var conns []net.Conn
				for range 3 {
					conn, err := c.connect(config)
					wantNil(t, err)
					defer conn.Close()
					_, err = conn.Write(make([]byte, 10_000))
					wantNil(t, err)
					_, err = io.ReadFull(conn, make([]byte, 1))
					wantNil(t, err)
					conns = append(conns, conn)
				}
				if n := c.p.CutConnections(tt.reset); n != 3 {
					t.Errorf("cut %d connections, want 3", n)
				}
				close(cut)
				for _, conn := range conns {
					if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, tt.want) {
						t.Errorf("got %v, want %v", err, tt.want)
					}
				}
				if n := c.p.CutConnections(tt.reset); n != 0 {
					t.Errorf("cut %d connections again", n)
				}
				c.wantCounts(cloudsqltest.Counts{Accepted: 3, Handshakes: 3, Cut: 3})
			})
		})
	}
}

func TestMovedInstanceIsAtItsNewAddressOnly(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		config, old := c.config(), c.p.Addrs()[cloudsqlconn.PublicIP]
		open := c.mustConnect(config)
		defer open.Close()
		c.p.SetAddrs(map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "203.0.113.7"})

		if _, err := c.s.DialContext(t.Context(), "tcp", old+":3307"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the old address: got %v, want ECONNREFUSED", err)
		}
		wantEcho(t, open)
		defer c.mustConnect(config).Close()
		got := c.settings().IPAddresses
		if len(got) != 2 || got[1].Type != "PRIMARY" || got[1].IPAddress != "203.0.113.7" {
			t.Errorf("the metadata has %v", got)
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 2, Handshakes: 2, Refused: 1})

		// Another instance takes the old address.
		p := c.s.AddInstance("my-project:europe-west1:other", cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: old}})
		conn, err := c.s.DialContext(t.Context(), "tcp", old+":3307")
		wantNil(t, err)
		defer conn.Close()
		eventually(p.Accepted, 1)
	})
}

func TestSwallowedAddressAnswersNothing(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "203.0.113.7", cloudsqlconn.PSC: "Abc.europe-west1.sql-psc.goog."}}, func(t *testing.T, c *client) {
		c.s.Swallow("ABC.europe-west1.sql-psc.goog")
		c.s.Swallow("198.51.100.1") // nobody's
		for _, addr := range []string{"abc.europe-west1.sql-psc.goog:3307", "abc.europe-west1.sql-psc.goog.:3307", "198.51.100.1:3307"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			start := time.Now()
			if _, err := c.s.DialContext(ctx, "tcp", addr); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
				t.Errorf("%s: %v after %v", addr, err, time.Since(start))
			}
			cancel()
		}
		c.wantCounts(cloudsqltest.Counts{Swallowed: 2})
		if got := c.s.Restore("198.51.100.1"); got != 1 {
			t.Errorf("Restore returned %d, want 1", got)
		}
		if got := c.s.Restore("abc.europe-west1.sql-psc.goog"); got != 2 {
			t.Errorf("Restore returned %d, want 2", got)
		}
		config := c.config()
		defer c.mustConnect(config).Close()
	})
}

func TestDeletedInstanceIsGoneAndCanBeAddedAgain(t *testing.T) {
	onBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		config, old := c.config(), c.p
		c.s.DeleteInstance(old)
		resp, body, err := c.send(t.Context(), "GET", instancePath+"/connectSettings", "")
		wantNil(t, err)
		if got := envelope(body); resp.StatusCode != 404 || got != "404 The Cloud SQL instance does not exist. instanceDoesNotExist" {
			t.Errorf("got %s: %s", resp.Status, body)
		}
		old.Start() // too late
		if _, err := c.connect(config); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got error %v, want ECONNREFUSED", err)
		}
		c.wantCounts(cloudsqltest.Counts{Refused: 1})

		c.p = c.s.AddInstance(instanceName, cloudsqltest.Instance{Addrs: old.Addrs()})
		c.s.DeleteInstance(old) // does no harm to its successor
		if _, err := c.connect(config); err == nil {
			t.Error("the CAs are the same as before")
		}
		c.wantCounts(cloudsqltest.Counts{Accepted: 1, Distrusted: 1})
		defer c.mustConnect(c.config()).Close()
	})
}

func TestMistakesInTheArrangementPanic(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		wantPanic := func(what string, f func()) {
			t.Helper()
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", what)
				}
			}()
			f()
		}
		wantPanic("a bad name", func() { c.s.AddInstance("my-db", cloudsqltest.Instance{}) })
		wantPanic("a name that is taken", func() { c.s.AddInstance(instanceName, cloudsqltest.Instance{}) })
		wantPanic("port 3307 in memory", func() {
			c.s.AddInstance("my-project:europe-west1:other", cloudsqltest.Instance{ListenOn3307: true})
		})
		defer c.mustConnect(c.config()).Close() // the first instance works as before
		c.s.Close()
		wantPanic("a closed server", func() { c.s.AddInstance("my-project:europe-west1:other", cloudsqltest.Instance{}) })
	})
}

func TestInstancesHaveAddressesOfTheirOwn(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{Addrs: map[cloudsqlconn.IPType]string{cloudsqlconn.PublicIP: "127.1.0.2"}}, func(t *testing.T, c *client) {
		other := c.s.AddInstance("my-project:europe-west1:other", cloudsqltest.Instance{})
		if got := other.Addrs()[cloudsqlconn.PublicIP]; got == "" || got == "127.1.0.2" {
			t.Errorf("the second instance has the address %q", got)
		}
		if got := other.Name(); got != "my-project:europe-west1:other" {
			t.Errorf("its name is %q", got)
		}
	})
}
