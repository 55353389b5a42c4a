package sqlserver_test
import ("testing";"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds";"crypto/tls";"context";"time";"net";"io";"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest")
func TestZZ(t *testing.T){
 c := newCloud(t, &tds.Server{})
 t.Log(open(t, c.dialer, plainDSN+"&cloudsql_iam_authn=true").PingContext(t.Context()))
 cert := newCertificate(t, "my-project:my-db")
 c = newCloud(t, &tds.Server{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, ForceEncryption: true})
 t.Log(open(t, c.dialer, plainDSN).PingContext(t.Context()))
 c.DeleteInstance(c.proxy)
 c.proxy = c.AddInstance(instance, cloudsqltest.Instance{DatabaseVersion: "SQLSERVER_2022_STANDARD", Handler: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }})
 ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond); defer cancel()
 t.Log(open(t, c.dialer, plainDSN).PingContext(ctx))
}
