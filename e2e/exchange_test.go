package e2e

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// The server behind never sees what the instance is told.
func TestServersBehindAMetadataExchange(t *testing.T) {
	eachMySQL(t, func(t *testing.T, e *engine) {
		i := e.newInstanceOf(t, e.sharedServer(t), cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata})
		wantAnswer(t, i.open(t, app))
		wantAnswer(t, i.open(t, iam, cloudsqlconn.WithIAMAuthN(true)))
		if told := i.emulated.MetadataExchanges(); len(told) != 2 || told[0].ClientProtocolType != "TLS" {
			t.Errorf("the instance was told %v", told)
		}
	})
}
