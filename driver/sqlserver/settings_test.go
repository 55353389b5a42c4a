package sqlserver_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

// The table in the package's documentation, line by line, but for TLS, of which
// TestTLSInsideTDSNeedsNoCAFile has more.
func TestSettingsOfADirectConnection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ dsn, refused string }{
		{"sqlserver://app:secret@db.invalid:1/SQLEXPRESS?x=y", ""},
		{"sqlserver://app:secret@192.0.2.1:1433?x=y", ""},
		{"sqlserver://app:secret@?x=y", ""},
		{"sqlserver://app:secret@db.invalid?encrypt=disable", ""},
		{"sqlserver://app:secret@db.invalid?encrypt=strict", "encrypt=strict"},
		{"sqlserver://app:secret@db.invalid?encrypt=disable&trustservercertificate=true", ""},
		{"sqlserver://app:secret@db.invalid?encrypt=disable&hostnameincertificate=db.invalid", ""},
		{"sqlserver://app:secret@db.invalid?tlsmin=1.2", ""},
		{"sqlserver://app:secret@db.invalid?failoverpartner=other.invalid", "failoverpartner"},
		{"sqlserver://app:secret@db.invalid?protocol=tcp", ""},
		{"sqlserver://app:secret@db.invalid?protocol=np", "protocol"},
		{"sqlserver://app:secret@db.invalid?multisubnetfailover=true", ""},
		{"sqlserver://app:secret@db.invalid?multisubnetfailover=false", ""},
		{"sqlserver://app:secret@db.invalid?dial+timeout=5", ""},
	} {
		t.Run(tt.dsn, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCloud(t, &tds.Server{Users: map[string]string{"app": "secret"}})
				dsn := tt.dsn + "&cloudsql=" + instance
				if tt.refused == "" {
					wantNil(t, open(t, c.dialer, dsn).PingContext(t.Context()))
					return
				}
				if _, err := sqlserver.NewConnector(c.dialer, dsn); !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got %v, want ErrConfig that names %s", err, tt.refused)
				}
			})
		})
	}
}

// moving is a Resolver whose name leads to another instance from the second
// question on.
type moving struct{ names []cloudsqlconn.Name }

func (m *moving) Resolve(context.Context, string) (cloudsqlconn.Resolution, error) {
	n := m.names[0]
	if len(m.names) > 1 {
		m.names = m.names[1:]
	}
	return cloudsqlconn.Resolution{Instance: n}, nil
}

// The server inside the tunnel was compared with what the name leads to by then.
func TestTheServerInsideTheTunnelIsTheTunnels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const other = "my-project:europe-west1:other"
		cert := newCertificate(t, "my-project:my-db")
		c := newCloud(t, &tds.Server{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, ForceEncryption: true})
		c.trustToo(cert)
		second := c.AddInstance(other, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD"})
		m := &moving{}
		for _, name := range []string{instance, other} {
			n, err := cloudsqlconn.ParseName(name)
			wantNil(t, err)
			m.names = append(m.names, n)
		}
		d := newDialer(t, append(c.Options(), cloudsqlconn.WithResolver(m))...)
		db := open(t, d, "sqlserver://app:secret@db.invalid?cloudsql=db.example.com")
		wantNil(t, db.PingContext(t.Context()))
		if len(m.names) > 1 {
			t.Error("the fault did not happen: the name leads where it led")
		}
		if second.Accepted() != 0 {
			t.Error("the other instance was dialled")
		}
	})
}

func TestAWrongDialOptionIsAnErrorOfTheConstructors(t *testing.T) {
	t.Parallel()
	dsn, wrong := "sqlserver://sa:secret@localhost?cloudsql="+instance, cloudsqlconn.WithDialTimeout(-1)
	_, connector := sqlserver.NewConnector(newDialer(t), dsn, wrong)
	_, registered := sqlserver.RegisterDriver("cloudsql-"+rand.Text(), wrong)
	for name, err := range map[string]error{"NewConnector": connector, "RegisterDriver": registered} {
		if told, ok := errors.AsType[*cloudsqlconn.Error](err); !ok || told.Op != cloudsqlconn.OpConfig || !errors.Is(err, cloudsqlconn.ErrConfig) || !strings.Contains(err.Error(), "WithDialTimeout") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
