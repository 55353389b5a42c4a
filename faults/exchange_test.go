package faults_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// Only on demand: a client of MySQL has to know what it is believed to be.
func TestMySQLInstancesAreToldThatTheClientIsEncrypted(t *testing.T) {
	for _, mode := range []cloudsqltest.MetadataExchange{
		cloudsqltest.AcceptMetadata, cloudsqltest.AcceptMetadataBytewise, cloudsqltest.AcceptMetadataSilently, cloudsqltest.GreetFirst,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			inWorld(t, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", MetadataExchange: mode}, func(t *testing.T, w *world) {
				w.wantDial()
				w.wantDial(cloudsqlconn.WithMetadataExchange(false))
				if told := w.instance.MetadataExchanges(); len(told) != 0 {
					t.Errorf("the instance was told %+v", told)
				}
				w.wantDial(cloudsqlconn.WithMetadataExchange(true))
				told := w.instance.MetadataExchanges()
				if len(told) != 1 || told[0].ClientProtocolType != "TLS" || !strings.HasPrefix(told[0].UserAgent, "cloudsqlconn/") {
					t.Errorf("the instance was told %+v", told)
				}
			})
		})
	}
}

func TestOthersAreToldNothing(t *testing.T) {
	for name, cfg := range map[string]cloudsqltest.Instance{
		"PostgreSQL":                       {MetadataExchange: cloudsqltest.AcceptMetadata},
		"MySQL that does not advertise it": {DatabaseVersion: "MYSQL_8_0"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, cfg, func(t *testing.T, w *world) {
				w.wantDial(cloudsqlconn.WithMetadataExchange(true))
				if told := w.instance.MetadataExchanges(); len(told) != 0 {
					t.Errorf("the instance was told %+v", told)
				}
			})
		})
	}
}

func TestARefusedMetadataExchangeIsToldWithTheServersMessage(t *testing.T) {
	inWorld(t, cloudsqltest.Instance{DatabaseVersion: "MYSQL_8_0", MetadataExchange: cloudsqltest.RefuseMetadata}, func(t *testing.T, w *world) {
		c, err := w.dialer.Dial(t.Context(), testInstance, cloudsqlconn.WithMetadataExchange(true))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
		_, err = c.Read(make([]byte, 1))
		var e *cloudsqlconn.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), cloudsqltest.RefusedMetadata) || !strings.Contains(e.Hint, "WithMetadataExchange") {
			t.Errorf("got %v", err)
		}
		w.wantCalls(2) // it says nothing against the certificate
	})
}
