package faults_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/authtest"
)

// Google's connector sends the quota project twice, and nothing of a login.
func TestADialGoesThroughSQLDataWhenAsked(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, s *sqlDataService) {
		w.fault.Store(status(403)) // the Admin API need not answer
		c := w.mustDial()
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		if !byStream(c) || !strings.Contains(c.RemoteAddr().String(), "my-db") {
			t.Errorf("the connection leads to %v", c.RemoteAddr())
		}
		if _, ok := c.(syscall.Conn); ok {
			t.Error("the connection has a SyscallConn")
		}
		w.wantCalls(0)
		s.wantStreams(1)
		stream := s.begun()[0]
		if want := wire.NewSession("my-project", "europe-west1", "my-db"); stream.session != want {
			t.Errorf("the session is %+v, want %+v", stream.session, want)
		}
		for header, want := range map[string]string{
			"x-goog-user-project":   "billing",
			"authorization":         "Bearer " + w.Token(),
			"x-goog-request-params": "location_id=locations/europe-west1&instance_id=projects/my-project/instances/my-db",
		} {
			if got := stream.header.Get(header); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q, want %q once", header, got, want)
			}
		}
		if got := strings.Join(stream.header.Get("user-agent"), " "); !strings.HasPrefix(got, "cloudsqlconn/") || !strings.Contains(got, "my-app/1") {
			t.Errorf("user-agent: %s", got)
		}

		if st := w.dialer.Instances()[0]; st.OpenConnections != 1 || st.BytesRead != 5 || st.BytesWritten != 5 || !st.SQLDataUnserved.IsZero() {
			t.Errorf("the status is %+v", st)
		}
		span := w.told.named("stream")[0]
		if a := attributes(span.Attributes()); a["server.address"] != "sqladmin.example.com" || a["server.port"] != "443" || a["cloudsqlconn.instance"] != testInstance {
			t.Errorf("the span: %v", a)
		}
		if a := attributes(w.told.named("cloudsqlconn.Dial")[0].Attributes()); a["cloudsqlconn.way"] != "sql_data" {
			t.Errorf("the Dial's span: %v", a)
		}
		if n := len(w.told.named("connect")) + len(w.told.named("handshake")); n != 0 {
			t.Errorf("%d spans of connections to an address", n)
		}
		w.told.wantSum("cloudsqlconn.dial.count", map[string]int64{"success": 1})

		if err := errors.Join(c.(interface{ CloseWrite() error }).CloseWrite(), c.Close()); err != nil {
			t.Error(err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the second Close: %v", err)
		}
		if st := w.dialer.Instances()[0]; st.OpenConnections != 0 {
			t.Errorf("%d open connections", st.OpenConnections)
		}
	}, cloudsqlconn.WithQuotaProject("billing"), cloudsqlconn.WithUserAgent("my-app/1"))
}

func TestNothingOfSQLDataIsThereUnasked(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataNever, echoes, func(t *testing.T, w *world, s *sqlDataService) {
		w.wantDial()
		if n := s.dials.Load(); n != 0 {
			t.Errorf("%d connections to the service", n)
		}
		if a := attributes(w.told.named("cloudsqlconn.Dial")[0].Attributes()); a["cloudsqlconn.way"] != "" {
			t.Errorf("the Dial's span: %v", a)
		}
		c := w.mustDial(cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataPrefer))
		defer c.Close()
		if err := echo(c); err != nil || !byStream(c) {
			t.Errorf("%v, %v", c.RemoteAddr(), err)
		}
	})
}

func TestASQLDataModeIsChecked(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"never", "Prefer", "ONLY"} {
		m, err := cloudsqlconn.ParseSQLDataMode(s)
		if err != nil || m.String() != strings.ToUpper(s) {
			t.Errorf("%s: %v, %v", s, m, err)
		}
	}
	if _, err := cloudsqlconn.ParseSQLDataMode("sometimes"); !errors.Is(err, cloudsqlconn.ErrConfig) {
		t.Errorf("got %v", err)
	}
	_, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithSQLData("SOMETIMES"), cloudsqlconn.WithSQLDataEndpoint("http://host/path"))
	if !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "WithSQLData:") || !strings.Contains(err.Error(), "WithSQLDataEndpoint:") {
		t.Errorf("got %v", err)
	}
}

// Google's connector ignores WithIAMAuthN in this way up to 1.26.0, without
// a word.
func TestIAMLoginIsAskedForInTheSession(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, s *sqlDataService) {
		// A token source that makes no login tokens will do.
		only(w, nil, s.options(cloudsqlconn.SQLDataOnly), cloudsqlconn.WithTokenSource(tokens("some")), cloudsqlconn.WithIAMAuthN(true))
		c := w.mustDial()
		defer c.Close()
		if got := s.begun()[0].session.AuthenticationType; got != wire.AutoIAM {
			t.Errorf("the authentication type is %d", got)
		}
		if !w.dialer.Instances()[0].IAMAuthN {
			t.Error("the status does not tell")
		}
		w.wantCalls(0)
	})
}

func TestTheLoginIsThatOfTheAccessToken(t *testing.T) {
	s := authtest.NewServer("admin", "login")
	t.Cleanup(s.Close)
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, svc *sqlDataService) {
		only(w, s.InProcess().Transport, svc.options(cloudsqlconn.SQLDataOnly), cloudsqlconn.WithCredentialsJSON(s.ServiceAccount()))
		for iam, want := range map[bool]string{true: authtest.Account, false: ""} {
			c := w.mustDial(cloudsqlconn.WithIAMAuthN(iam))
			defer c.Close()
			info, _ := cloudsqlconn.InfoOf(c)
			if who, err := info.LoginPrincipal(t.Context()); err != nil || who != want {
				t.Errorf("IAM login %v: %q, %v", iam, who, err)
			}
		}
		w.wantCalls(0)
	})
}

func TestARevokedTokenIsReplacedForAStream(t *testing.T) {
	s := authtest.NewServer("admin", "login")
	t.Cleanup(s.Close)
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		svc, stop := w.withService(echoes, cloudsqlconn.SQLDataOnly)
		defer stop()
		only(w, s.InProcess().Transport, svc.options(cloudsqlconn.SQLDataOnly), cloudsqlconn.WithCredentialsJSON(s.ServiceAccount()))
		_ = w.mustDial().Close()
		time.Sleep(2 * time.Minute) // younger tokens are not replaced
		svc.does(then(1, refuses(codes.Unauthenticated, "revoked"), echoes))
		_ = w.mustDial().Close()
		svc.wantStreams(3)
		if n := adminTokens(s); n != 2 {
			t.Errorf("%d tokens were asked for, want 2", n)
		}
	})
}

func TestSQLDataNeedsAToken(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{}, func(t *testing.T, w *world) {
		w.onlyWith()
		e := w.wantError(cloudsqlconn.ErrConfig, ample, cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataOnly))
		if e.Op != "stream" || !strings.Contains(e.Hint, "WithTokenSource") {
			t.Errorf("got %v; %s", e, e.Hint)
		}
	})
}

// Drivers pass the same options at each Dial. Were there a connection for each,
// the service's front end would see as many as the pool has.
func TestDialsWithTheSameOptionsShareAConnection(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, s *sqlDataService) {
		own := cloudsqlconn.WithDialFunc(s.dial)
		for range 3 {
			defer w.mustDial().Close()
			defer w.mustDial(own).Close()
			defer w.mustDial(own, cloudsqlconn.WithDialTimeout(time.Minute)).Close()
		}
		if n := s.dials.Load(); n != 2 {
			t.Errorf("%d TCP connections, want 2: one for each option WithDialFunc", n)
		}
	})
}

// The failover of a DNS name closes streams as it closes other connections.
// Google's connector does not track them.
func TestFailoverCutsStreams(t *testing.T) {
	n := &names{}
	n.set(testInstance, nil)
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, echoes, func(t *testing.T, w *world, _ *sqlDataService) {
		c := w.wantConn(testDomain)
		n.set(otherInstance, nil)
		_, err := c.Read(make([]byte, 1))
		var e *cloudsqlconn.Error
		if !errors.As(err, &e) || e.Op != "resolve" || !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
		_ = c.Close()
	}, cloudsqlconn.WithResolver(n))
}

func TestStreamsOutliveTheDialer(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataPrefer, echoes, func(t *testing.T, w *world, s *sqlDataService) {
		c := w.mustDial()
		defer c.Close()
		_ = w.dialer.Close()
		if err := echo(c); err != nil {
			t.Error(err)
		}
		_ = w.wantError(cloudsqlconn.ErrDialerClosed, ample)
		s.wantStreams(1)
	})
}

func TestCloseEndsADialThatWaitsForAStream(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, refuses(codes.Unavailable, "busy"), func(t *testing.T, w *world, s *sqlDataService) {
		time.AfterFunc(time.Second, func() { _ = w.dialer.Close() })
		if d := took(func() { _ = w.wantError(cloudsqlconn.ErrDialerClosed, time.Minute) }); d != time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

func TestWarmupOfSQLDataOnlyAsksForNoCertificate(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, _ *sqlDataService) {
		if err := w.dialer.Warmup(t.Context(), testInstance); err != nil {
			t.Error(err)
		}
		w.wantCalls(0)
	})
}

// The environment's proxy is for SQL Data as it is for the Admin API.
func TestTheEnvironmentsProxyLeadsToSQLData(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan *http.Request, 10)
	proxy := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.WriteHeader(http.StatusProxyAuthRequired)
	})}
	go func() { _ = proxy.Serve(l) }()
	defer proxy.Close()
	t.Setenv("HTTPS_PROXY", fmt.Sprintf("http://me:hunter2@%v", l.Addr()))
	t.Setenv("NO_PROXY", "")
	d, err := cloudsqlconn.NewDialer(t.Context(), cloudsqlconn.WithTokenSource(tokens("x")), cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = d.Dial(t.Context(), testInstance)
	r := <-requests
	if r.Method != http.MethodConnect || r.Host != "sqladmin.googleapis.com:443" || !strings.HasPrefix(r.Header.Get("Proxy-Authorization"), "Basic ") {
		t.Errorf("the proxy got %s %s, %v", r.Method, r.Host, r.Header)
	}
	hint := cloudsqlconn.Hint(err)
	if err == nil || !strings.Contains(err.Error(), "407") || !strings.Contains(hint, "the proxy "+l.Addr().String()) || strings.Contains(err.Error()+hint, "hunter2") {
		t.Errorf("got %v; %s", err, hint)
	}
}

// In a Read or Write nothing but io.EOF, the end of a deadline and net.ErrClosed
// may come bare: the peers' users see statuses without a name or a hint.
func TestEndsOfStreams(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, func(s *sqlDataStream) error {
		_ = s.accept()
		_, _ = s.Write([]byte("last words"))
		return nil
	}, func(t *testing.T, w *world, _ *sqlDataService) {
		c := w.mustDial()
		defer c.Close()
		if b, err := io.ReadAll(c); string(b) != "last words" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}
