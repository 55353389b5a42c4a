package interop

import (
	"context"
	"crypto/x509"
	"regexp"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// What cloudsqltest's documentation tells of clients, and no other test shows:
// who they say they are, and what they tell in the metadata exchange.
func TestClientsSayWhoTheyAre(t *testing.T) {
	facts := map[string]struct{ userAgent, encoding, told string }{
		"go-pgx":              {`^cloud-sql-go-connector/[\d.]+$`, "", ""},
		"go-mysql":            {`^cloud-sql-go-connector/[\d.]+$`, "", ""},
		"go-mssql":            {`^cloud-sql-go-connector/[\d.]+$`, "", ""},
		"proxy-psql":          {`^cloud-sql-go-connector/[\d.]+ cloud-sql-proxy/[\d.]+$`, "", "UDS"},
		"proxy-mariadb":       {`^cloud-sql-go-connector/[\d.]+ cloud-sql-proxy/[\d.]+$`, "", "UDS"},
		"node-pg":             {`^cloud-sql-nodejs-connector/[\d.]+ google-api-nodejs-client/[\d.]+ \(gzip\)$`, "", ""},
		"node-mysql2":         {`^cloud-sql-nodejs-connector/[\d.]+ google-api-nodejs-client/[\d.]+ \(gzip\)$`, "", ""},
		"python-pg8000":       {`^cloud-sql-python-connector/[\d.]+\+pg8000$`, "", ""},
		"python-psycopg":      {`^cloud-sql-python-connector/[\d.]+\+psycopg$`, "", ""},
		"python-asyncpg":      {`^cloud-sql-python-connector/[\d.]+\+asyncpg$`, "", ""},
		"python-pymysql":      {`^cloud-sql-python-connector/[\d.]+\+pymysql$`, "", ""},
		"python-pytds":        {`^cloud-sql-python-connector/[\d.]+\+pytds$`, "", ""},
		"java-jdbc-postgres":  {`^Google-API-Java-Client/[\d.]+ Google-HTTP-Java-Client/[\d.]+ \(gzip\)$`, "gzip", ""},
		"java-jdbc-mysql":     {`^Google-API-Java-Client/[\d.]+ Google-HTTP-Java-Client/[\d.]+ \(gzip\)$`, "gzip", "TLS"},
		"java-jdbc-sqlserver": {`^Google-API-Java-Client/[\d.]+ Google-HTTP-Java-Client/[\d.]+ \(gzip\)$`, "gzip", ""},
		"java-r2dbc-postgres": {`^Google-API-Java-Client/[\d.]+ Google-HTTP-Java-Client/[\d.]+ \(gzip\)$`, "gzip", ""},
	}
	eachClient(t, func(t *testing.T, c client) {
		want, ok := facts[c.name]
		if !ok {
			t.Fatal("nothing is known of it")
		}
		w := newWorld(t, c.engine, cloudsqltest.Instance{MetadataExchange: cloudsqltest.AcceptMetadata})
		wantLogin(t, w, w.start(t, c.open))
		for _, r := range w.kit.Requests() {
			if agent := r.Header.Get("User-Agent"); !regexp.MustCompile(want.userAgent).MatchString(agent) {
				t.Errorf("the user agent is %q, want %s", agent, want.userAgent)
			}
			if e := r.Header.Get("Content-Encoding"); r.Call == cloudsqltest.GenerateEphemeralCert && e != want.encoding {
				t.Errorf("generateEphemeralCert has the encoding %q, want %q", e, want.encoding)
			}
		}
		told := ""
		for _, m := range w.emulated.MetadataExchanges() {
			told += m.ClientProtocolType
		}
		if told != want.told {
			t.Errorf("it told %q in the metadata exchange, want %q", told, want.told)
		}
	})
}

// The certificate is of the right CA. Python's connector, which looks no
// further, is known to do so: issue 1087 of its repository.
func TestClientsThatCheckTheNameInTheServerCertificate(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		w := newWorld(t, c.engine, cloudsqltest.Instance{
			CAMode:   cloudsqltest.GoogleCAS,
			DNSNames: []string{"12ab.34cd.europe-west1.sql.goog"},
			AlterServerCert: func(c *x509.Certificate) {
				c.Subject.CommonName = "my-project:another"
				c.DNSNames = []string{"56ef.34cd.europe-west1.sql.goog"}
			},
		})
		s := w.start(t, c.open)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		user, err := s(ctx)
		if ctx.Err() != nil {
			t.Fatal("no answer came")
		}
		if refused := err != nil; refused != (c.can&checkName != 0) {
			t.Errorf("user %q, error %v", user, err)
		}
	})
}
