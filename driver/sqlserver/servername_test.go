package sqlserver_test

import (
	"errors"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
)

func TestServerName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		ipType cloudsqlconn.IPType
		domain string
		want   string
		err    error
	}{
		{instance, cloudsqlconn.PrivateIP, "ad.example.com", "private.my-db.europe-west1.my-project.cloudsql.ad.example.com", nil},
		{instance, cloudsqlconn.PublicIP, "AD.Example.COM.", "public.my-db.europe-west1.my-project.cloudsql.ad.example.com", nil},
		{instance, cloudsqlconn.PSC, "ad.example.com", "", cloudsqlconn.ErrConfig},
		{instance, cloudsqlconn.PublicIP, "", "", cloudsqlconn.ErrConfig},
		{instance, cloudsqlconn.PublicIP, "ad.example.com&x=y", "", cloudsqlconn.ErrConfig},
		{"example.com:my-project:europe-west1:my-db", cloudsqlconn.PublicIP, "ad.example.com", "", cloudsqlconn.ErrBadName},
		{"my-db", cloudsqlconn.PublicIP, "ad.example.com", "", cloudsqlconn.ErrBadName},
	} {
		got, err := sqlserver.ServerName(tt.name, tt.ipType, tt.domain)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ServerName(%q, %s, %q) = %q, %v; want %q, %v", tt.name, tt.ipType, tt.domain, got, err, tt.want, tt.err)
		}
	}
}
