package sqlserver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
)

// Logins with a real Kerberos are in e2e.
func TestKerberosLoginsThatCannotWorkSayWhy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := filepath.Join(dir, "krb5.conf")
	wantNil(t, os.WriteFile(conf, []byte("[libdefaults]\n default_realm = AD.EXAMPLE.COM\n default_keytab_name = "+dir+"/none\n[realms]\n AD.EXAMPLE.COM = {\n  kdc = 127.0.0.1:1\n }\n"), 0o600))
	garbage := filepath.Join(dir, "garbage")
	wantNil(t, os.WriteFile(garbage, []byte("garbage"), 0o600))

	const base = "server=private.my-db.europe-west1.my-project.cloudsql.ad.example.com;cloudsql=" + instance + ";authenticator=krb5;"
	for _, tt := range []struct{ params, want string }{
		{"krb5-configfile=" + dir + "/missing", "missing"},
		{"krb5-configfile=" + garbage + ";user id=app;password=secret;krb5-realm=X", "no KDC"},
		{"krb5-configfile=" + conf, "neither a user"},
		{"krb5-configfile=" + conf + ";user id=app;krb5-keytabfile=" + dir + "/missing", "the keytab"},
		{"krb5-configfile=" + conf + ";user id=app;krb5-keytabfile=" + garbage, "the keytab"},
		{"krb5-configfile=" + conf + ";krb5-credcachefile=FILE:" + dir + "/missing", "the credential cache"},
		{"krb5-configfile=" + conf + ";krb5-credcachefile=" + garbage, "the credential cache"},
		{"krb5-configfile=" + conf + ";krb5-dnslookupkdc=perhaps", "krb5-dnslookupkdc"},
		{"krb5-configfile=" + conf + ";krb5-udppreferencelimit=many", "krb5-udppreferencelimit"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCloud(t, &tds.Server{})
			if strings.Contains(tt.want, "KDC") {
				tt.params += ";krb5-dnslookupkdc=false"
			}
			err := open(t, c.dialer, base+tt.params).PingContext(t.Context())
			if err == nil || !strings.Contains(err.Error(), "kerberos: ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got %v, want %q", tt.params, err, tt.want)
			}
		})
	}
}
