package faults_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// inKitWorld is inWorld with the kit's SQL Data, over TLS, which a Dialer trusts
// by the HTTP client's configuration.
func inKitWorld(t *testing.T, mode cloudsqlconn.SQLDataMode, cfg cloudsqltest.Instance, service cloudsqltest.SQLDataConfig, test func(t *testing.T, w *world, d *cloudsqltest.SQLData)) {
	t.Helper()
	cfg.Addrs = publicOnly
	inWorld(t, cfg, func(t *testing.T, w *world) {
		service.TLS = true
		d := w.ServeSQLData(service)
		trusts := w.Client().Transport.(*http.Transport).Clone()
		trusts.TLSClientConfig = &tls.Config{RootCAs: d.RootCAs(), MinVersion: tls.VersionTLS12}
		defer trusts.CloseIdleConnections()
		w.withOptions(cloudsqlconn.WithHTTPClient(&http.Client{Transport: trusts}), cloudsqlconn.WithSQLData(mode))
		test(t, w, d)
		_ = w.dialer.Close()
	})
}

func TestTheKitsSQLDataLeadsToTheDatabase(t *testing.T) {
	inKitWorld(t, cloudsqlconn.SQLDataPrefer, cloudsqltest.Instance{SQLData: true}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, w *world, d *cloudsqltest.SQLData) {
		for _, iam := range []bool{false, true} {
			c := w.mustDial(cloudsqlconn.WithIAMAuthN(iam))
			if err := echo(c); err != nil || !byStream(c) {
				t.Errorf("%v, %v", c.RemoteAddr(), err)
			}
			_ = c.Close()
		}
		time.Sleep(time.Second)
		streams := d.Streams()
		if len(streams) != 2 || streams[0].AuthenticationType != 0 || streams[1].AuthenticationType != wire.AutoIAM || streams[0].Received != 5 || streams[1].Timeout != 0 {
			t.Errorf("the streams: %+v", streams)
		}
		w.wantCalls(0)
	})
}

func TestTheKitsSQLDataRefusesOtherInstances(t *testing.T) {
	inKitWorld(t, cloudsqlconn.SQLDataPrefer, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, w *world, d *cloudsqltest.SQLData) {
		c := w.mustDial()
		defer c.Close()
		if err := echo(c); err != nil || byStream(c) || len(d.Streams()) != 1 {
			t.Errorf("%v, %v, %d streams", c.RemoteAddr(), err, len(d.Streams()))
		}
	})
}

// With Google's connector the Dial above the limit of streams hangs until its
// context ends.
func TestMoreConnectionsThanTheServiceAllowsStreams(t *testing.T) {
	inKitWorld(t, cloudsqlconn.SQLDataPrefer, cloudsqltest.Instance{SQLData: true}, cloudsqltest.SQLDataConfig{MaxStreams: 20}, func(t *testing.T, w *world, d *cloudsqltest.SQLData) {
		conns := make([]net.Conn, 150)
		parallel(len(conns), func(i int) { conns[i] = w.mustDial() })
		for _, c := range conns {
			if err := echo(c); err != nil {
				t.Fatal(err)
			}
		}
		if n := d.Counts().Accepted; n < 8 {
			t.Errorf("%d TCP connections", n)
		}
		if n := w.dialer.Instances()[0].OpenConnections; n != 150 {
			t.Errorf("%d open connections", n)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

// A cut connection is told as one, and the next Dial has another.
func TestAfterACutTheNextDialHasAnotherConnection(t *testing.T) {
	inKitWorld(t, cloudsqlconn.SQLDataPrefer, cloudsqltest.Instance{SQLData: true}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, w *world, d *cloudsqltest.SQLData) {
		c := w.mustDial()
		defer c.Close()
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		if d.CutConnections(true) == 0 {
			t.Fatal("the fault did not happen")
		}
		_, err := c.Read(make([]byte, 1))
		var e *cloudsqlconn.Error
		if !errors.As(err, &e) || e.Op != "stream" || e.Hint == "" {
			t.Errorf("got %v", err)
		}
		w.wantDial()
	})
}

// The black hole that Google's connector notices after hours.
func TestABlackHoleIsNoticed(t *testing.T) {
	inKitWorld(t, cloudsqlconn.SQLDataPrefer, cloudsqltest.Instance{SQLData: true}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, w *world, d *cloudsqltest.SQLData) {
		c := w.mustDial()
		defer c.Close()
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		if d.BlackHole() == 0 {
			t.Fatal("the fault did not happen")
		}
		var err error
		if d := took(func() { _, err = c.Read(make([]byte, 1)) }); err == nil || d > 45*time.Second {
			t.Errorf("noticed after %v: %v", d, err)
		}
		w.wantDial()
	})
}

// A front end that leaves its connections, as Google's does after an hour, is
// noticed by no Dial. Open connections go on for the grace, or end with a reason.
func TestAGoAwayFailsNoDial(t *testing.T) {
	for name, grace := range map[string]time.Duration{"with an hour's grace": time.Hour, "without grace": 0} {
		t.Run(name, func(t *testing.T) {
			inKitWorld(t, cloudsqlconn.SQLDataPrefer, cloudsqltest.Instance{SQLData: true}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, w *world, d *cloudsqltest.SQLData) {
				var ended atomic.Int64
				wantEcho := func(c net.Conn) {
					err := echo(c)
					var e *cloudsqlconn.Error
					switch {
					case err == nil:
					case grace > 0 || !errors.As(err, &e) || e.Op != "stream" || e.Hint == "" || !strings.Contains(err.Error(), "Unavailable: "):
						t.Errorf("an open connection: %v", err)
					default:
						ended.Add(1)
					}
				}
				open := w.mustDial()
				defer open.Close()
				wantEcho(open)
				over := make(chan bool)
				go func() {
					defer close(over)
					for range 20 {
						time.Sleep(10 * time.Millisecond)
						d.GoAway(grace)
					}
				}()
				parallel(5, func(int) {
					for range 20 {
						time.Sleep(10 * time.Millisecond)
						c, err := w.dialer.Dial(t.Context(), testInstance)
						if err != nil {
							t.Errorf("Dial: %v", err)
							return
						}
						wantEcho(c)
						_ = c.Close()
					}
				})
				<-over
				wantEcho(open)
				if n := d.Counts(); n.GoneAway == 0 || (n.Cut > 0) != (grace == 0) || (ended.Load() > 0) != (grace == 0) {
					t.Errorf("the fault did not happen: %d connections have ended, %+v", ended.Load(), n)
				}
			})
		})
	}
}

// Google's connector takes it for the service's being exhausted, and fails all
// Dials for a while.
func TestAMessageThatIsTooLargeBeginsNoCooldown(t *testing.T) {
	inKitWorld(t, cloudsqlconn.SQLDataPrefer, cloudsqltest.Instance{SQLData: true}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, w *world, d *cloudsqltest.SQLData) {
		flood := &cloudsqltest.StreamFault{Flood: 101 << 20, FloodMessages: 1, Times: 1}
		w.instance.SetStreamFault(flood)
		c := w.mustDial()
		defer c.Close()
		_, err := c.Read(make([]byte, 1))
		var e *cloudsqlconn.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "more than 100 MiB") || !strings.Contains(e.Hint, "SQLDataNever") || d.Hits(flood) != 1 {
			t.Errorf("got %v; %s; %d streams met the fault", err, cloudsqlconn.Hint(err), d.Hits(flood))
		}
		if until := w.dialer.Instances()[0].SQLDataCooldown; !until.IsZero() {
			t.Errorf("the service is left alone until %v", until)
		}
		if d := took(func() { w.wantDial() }); d > time.Second {
			t.Errorf("the next Dial took %v", d)
		}
	})
}

func TestTheKitsFaultsOfStreams(t *testing.T) {
	edition := grpcstatus.New(codes.FailedPrecondition, wire.EditionRefusal)
	for name, c := range map[string]struct {
		fault    cloudsqltest.StreamFault
		bystream bool
	}{
		"refused after the metadata": {cloudsqltest.StreamFault{Status: edition, At: cloudsqltest.AfterMetadata}, false},
		"refused without metadata":   {cloudsqltest.StreamFault{Status: edition, Metadata: cloudsqltest.MetadataNever, Delay: 3 * time.Second}, false},
		"metadata with the data":     {cloudsqltest.StreamFault{Metadata: cloudsqltest.MetadataWithData}, true},
		"noise":                      {cloudsqltest.StreamFault{Noise: true, Chunk: 1}, true},
		"busy once":                  {cloudsqltest.StreamFault{Status: grpcstatus.New(codes.ResourceExhausted, "busy"), Times: 1}, true},
		"unavailable twice":          {cloudsqltest.StreamFault{Status: grpcstatus.New(codes.Unavailable, "down"), Times: 2}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inKitWorld(t, cloudsqlconn.SQLDataPrefer, cloudsqltest.Instance{SQLData: true}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, w *world, d *cloudsqltest.SQLData) {
				w.instance.SetStreamFault(&c.fault)
				conn := w.mustDial()
				defer conn.Close()
				if c.bystream {
					if err := echo(conn); err != nil {
						t.Error(err)
					}
				} else if _, err := io.WriteString(conn, strings.Repeat("x", 1000)); err != nil {
					t.Error(err)
				} else if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
					t.Error(err)
				}
				if d.Hits(&c.fault) == 0 {
					t.Fatal("the fault did not happen")
				}
				if byStream(conn) != c.bystream {
					t.Errorf("the connection leads to %v", conn.RemoteAddr())
				}
			})
		})
	}
}
