package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"
	mssql "github.com/microsoft/go-mssqldb"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
	"github.com/cloudsqlconn/cloudsqlconn/driver/sqlserver"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/kdc"
)

// adDomain is the domain that instances here have joined. Its realm is MIT
// Kerberos: what is special about Active Directory, the groups in a ticket, is
// not tested.
const adDomain = "ad.example.com"

// adLookups counts the DNS questions for names of instances in the domain,
// which get no answer.
var adLookups atomic.Int64

func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if udp, ok := c.(*net.UDPConn); ok {
			return asking{udp}, nil
		}
		return c, err
	}}
}

// asking is a way to a DNS server.
type asking struct{ *net.UDPConn }

func (c asking) Write(question []byte) (int, error) {
	if bytes.Contains(question, []byte("\x08cloudsql\x02ad\x07example\x03com\x00")) {
		adLookups.Add(1)
		return 0, errors.New("a name of an instance is looked up")
	}
	return c.UDPConn.Write(question)
}

// newRealm starts a realm with the user app and returns it with the user's
// keytab.
func newRealm(t *testing.T) (realm *kdc.Server, userKeytab string) {
	t.Helper()
	realm, err := kdc.Start(t.Context(), strings.ToUpper(adDomain))
	if errors.Is(err, kdc.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, realm.Close()) })
	wantNil(t, realm.AddUser(t.Context(), "app", "secret"))
	userKeytab, err = realm.Keytab(t.Context(), "app")
	wantNil(t, err)
	return realm, userKeytab
}

// joined returns a server that takes tickets for the name that instanceName
// has in the domain, and that name.
func joined(t *testing.T, realm *kdc.Server) (_ *tds.Server, host string, tickets *ticketBook) {
	t.Helper()
	host, err := sqlserver.ServerName(instanceName, cloudsqlconn.PrivateIP, adDomain)
	wantNil(t, err)
	file, err := realm.AddService(t.Context(), "MSSQLSvc/"+host+":1433")
	wantNil(t, err)
	keys, err := keytab.Load(file)
	wantNil(t, err)
	tickets = &ticketBook{keys: keys}
	return &tds.Server{SSPI: tickets.accept}, host, tickets
}

// ticketBook checks Kerberos tokens, and keeps for whom the tickets were.
type ticketBook struct {
	keys *keytab.Keytab

	mu       sync.Mutex // guards services
	services []string
}

func (b *ticketBook) accept(token []byte) (reply []byte, user string, err error) {
	var negotiation spnego.SPNEGOToken
	if err := negotiation.Unmarshal(token); err != nil {
		return nil, "", err
	}
	var mech spnego.KRB5Token
	if err := mech.Unmarshal(negotiation.NegTokenInit.MechTokenBytes); err != nil {
		return nil, "", err
	}
	if !mech.IsAPReq() {
		return nil, "", errors.New("the token is not an AP-REQ")
	}
	ok, err := mech.APReq.Verify(b.keys, 5*time.Minute, types.HostAddress{}, nil)
	if err != nil || !ok {
		return nil, "", fmt.Errorf("the ticket is not good: %w", err)
	}
	b.mu.Lock()
	b.services = append(b.services, mech.APReq.Ticket.SName.PrincipalNameString())
	b.mu.Unlock()
	accepted := spnego.SPNEGOToken{Resp: true, NegTokenResp: spnego.NegTokenResp{SupportedMech: gssapi.OIDKRB5.OID()}}
	reply, err = accepted.Marshal()
	who := mech.APReq.Authenticator
	return reply, who.CName.PrincipalNameString() + "@" + who.CRealm, err
}

func (b *ticketBook) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.services...)
}

func TestKerberosLogins(t *testing.T) {
	t.Parallel()
	realm, userKeytab := newRealm(t)
	cache, err := realm.Cache(t.Context(), "app", userKeytab)
	wantNil(t, err)
	server, host, tickets := joined(t, realm)
	d, _, _ := newSQLServer(t, server)
	base := "sqlserver://" + host + "?cloudsql=" + instanceName + "&authenticator=krb5&krb5-configfile=" + realm.Config()
	for i, dsn := range []string{
		base + "&user+id=app&password=secret",
		base + "&user+id=app%40AD.EXAMPLE.COM&password=secret&encrypt=disable",
		base + "&user+id=app&krb5-realm=AD.EXAMPLE.COM&krb5-keytabfile=" + userKeytab,
		base + "&krb5-credcachefile=FILE:" + cache,
		strings.Replace(base, host, "localhost", 1) + "&serverspn=MSSQLSvc%2F" + host + ":1433&user+id=app&password=secret",
		"server=" + host + ";cloudsql=" + instanceName + ";authenticator=krb5;krb5-configfile=" + realm.Config() + ";krb5-credcachefile=" + cache,
	} {
		wantNil(t, openSQLServer(t, d, dsn).PingContext(t.Context()))
		got := server.Sessions()[i]
		if got.User != "app@AD.EXAMPLE.COM" || got.Login.User != "" || got.Login.Password != "" {
			t.Errorf("%s: got %+v", dsn, got)
		}
		if seen := tickets.seen(); seen[len(seen)-1] != "MSSQLSvc/"+host+":1433" {
			t.Errorf("%s: a ticket for %s", dsn, seen[len(seen)-1])
		}
	}
}

func TestKerberosLooksNoInstanceUp(t *testing.T) {
	t.Parallel()
	realm, _ := newRealm(t)
	server, host, _ := joined(t, realm)
	d, _, _ := newSQLServer(t, server)
	dsn := "server=" + host + ";cloudsql=" + instanceName + ";authenticator=krb5;user id=app;password=secret;krb5-configfile=" + realm.Config()
	wantNil(t, openSQLServer(t, d, dsn).PingContext(t.Context()))
	if n := adLookups.Load(); n != 0 {
		t.Errorf("%d look-ups", n)
	}
}

func TestKerberosLoginsThatAreRefused(t *testing.T) {
	t.Parallel()
	realm, _ := newRealm(t)
	server, host, tickets := joined(t, realm)
	stranger, err := realm.AddService(t.Context(), "MSSQLSvc/"+"public"+strings.TrimPrefix(host, "private")+":1433")
	wantNil(t, err)
	d, _, _ := newSQLServer(t, server)
	dsn := func(host, rest string) string {
		return "server=" + host + ";cloudsql=" + instanceName + ";authenticator=krb5;krb5-configfile=" + realm.Config() + ";" + rest
	}

	for what, tt := range map[string]struct{ dsn, want string }{
		"wrong password":        {dsn(host, "user id=app;password=wrong"), "kerberos: "},
		"unknown user":          {dsn(host, "user id=other;password=secret"), "kerberos: "},
		"not the user's keytab": {dsn(host, "user id=app;krb5-keytabfile="+stranger), "kerberos: "},
		"unknown server":        {dsn("other."+adDomain, "user id=app;password=secret"), "a ticket for MSSQLSvc/other.ad.example.com:1433"},
	} {
		err := openSQLServer(t, d, tt.dsn).PingContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", what, err, tt.want)
		}
	}
	if seen := tickets.seen(); len(seen) != 0 {
		t.Errorf("tickets for %v", seen)
	}

	// The domain has this server, but it is not this one.
	err = openSQLServer(t, d, dsn("public"+strings.TrimPrefix(host, "private"), "user id=app;password=secret")).PingContext(t.Context())
	var e mssql.Error
	if !errors.As(err, &e) || e.Number != 18456 {
		t.Errorf("a ticket for another server: got %v, want error 18456", err)
	}
	all := server.Sessions()
	if got := all[len(all)-1]; got.User != "" || got.Err == nil || !strings.Contains(got.Err.Error(), "the ticket is not good") {
		t.Errorf("a ticket for another server: got %+v", got)
	}
}
