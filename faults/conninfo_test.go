package faults_test

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// wrapped is a connection around another one.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// around itself is a connection that is around no other.
type aroundItself struct{ net.Conn }

func (a aroundItself) NetConn() net.Conn { return a }

func TestWhatIsKnownAboutAConnection(t *testing.T) {
	inDNSWorld(t, func(t *testing.T, w *world, _ *cloudsqltest.DNS) {
		c := w.wantConn(testDomain + ".")
		want, ok := cloudsqlconn.InfoOf(c)
		if !ok || want.Instance.String() != testInstance || want.Domain != testDomain || want.EngineVersion != "POSTGRES_16" || want.IPType != cloudsqlconn.PublicIP || want.SQLData {
			t.Errorf("got %+v, %v", want, ok)
		}
		cfg, err := want.InnerTLS(t.Context())
		if err != nil || cfg.VerifyConnection == nil || cfg.GetClientCertificate != nil {
			t.Errorf("InnerTLS: %+v, %v", cfg, err)
		}
		if who, err := want.LoginPrincipal(t.Context()); who != "" || err != nil {
			t.Errorf("without IAM login: %q, %v", who, err)
		}
		for what, outer := range map[string]net.Conn{
			"in another": wrapped{c}, "in two": wrapped{wrapped{c}}, "in TLS": tls.Client(c, &tls.Config{ServerName: "inner"}),
		} {
			if got, ok := cloudsqlconn.InfoOf(outer); !ok || got != want {
				t.Errorf("%s: got %+v, %v", what, got, ok)
			}
			w.wantDial(cloudsqlconn.WithSameHost(outer))
		}
		_ = c.Close()
		if got, ok := cloudsqlconn.InfoOf(c); !ok || got != want {
			t.Errorf("after Close: got %+v, %v", got, ok)
		}

		stranger, end := net.Pipe()
		defer stranger.Close()
		defer end.Close()
		for _, c := range []net.Conn{nil, stranger, wrapped{stranger}, wrapped{}, aroundItself{}} {
			if got, ok := cloudsqlconn.InfoOf(c); ok || got != (cloudsqlconn.ConnInfo{}) {
				t.Errorf("%T: got %+v", c, got)
			}
		}
	})
}

func TestWhatIsKnownAboutAStream(t *testing.T) {
	inSQLDataWorld(t, cloudsqlconn.SQLDataOnly, echoes, func(t *testing.T, w *world, _ *sqlDataService) {
		c := w.open(testInstance)
		info, ok := cloudsqlconn.InfoOf(wrapped{c})
		if !ok || info.Instance.String() != testInstance || !info.SQLData || info.Domain+info.EngineVersion+info.IPType.String() != "" || info.ExchangeMetadata() {
			t.Errorf("got %+v, %v", info, ok)
		}
		w.wantCalls(0)
		if _, err := info.InnerTLS(t.Context()); err != nil { // which the Admin API alone knows
			t.Errorf("InnerTLS: %v", err)
		}
		w.wantCalls(2)
		_ = w.dialer.Close()
		if _, err := info.InnerTLS(t.Context()); !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
			t.Errorf("InnerTLS after Close: %v", err)
		}
	})
}

func TestNothingIsKnownAboutNoConnection(t *testing.T) {
	var info cloudsqlconn.ConnInfo
	if _, err := info.InnerTLS(t.Context()); !errors.Is(err, cloudsqlconn.ErrConfig) {
		t.Errorf("InnerTLS: %v", err)
	}
	if _, err := info.LoginPrincipal(t.Context()); !errors.Is(err, cloudsqlconn.ErrConfig) {
		t.Errorf("LoginPrincipal: %v", err)
	}
	if info.ExchangeMetadata() {
		t.Error("it would make the exchange")
	}
}
