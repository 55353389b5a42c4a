// Package kerberos logs in to SQL Server with Kerberos, for go-mssqldb. It knows nothing of
// Cloud SQL and of connections.
package kerberos

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/microsoft/go-mssqldb/integratedauth"
	"github.com/microsoft/go-mssqldb/msdsn"
)

// Provider is the authenticator of a configuration of go-mssqldb that logs in by this
// package.
const Provider = "cloudsqlconn-krb5"

func init() {
	err := integratedauth.SetIntegratedAuthenticationProvider(Provider, integratedauth.ProviderFunc(newLogin))
	if err != nil {
		panic(err)
	}
}

// login is a login with Kerberos. It has the parameters of go-mssqldb's krb5,
// which would look up the server's name in the DNS to get a ticket for what
// that says.
type login struct {
	client *client.Client
	spn    string
}

var errNoCredentials = errors.New("kerberos: neither a user with a password or krb5-keytabfile, nor krb5-credcachefile")

func newLogin(cfg msdsn.Config) (integratedauth.IntegratedAuthenticator, error) {
	conf, err := loadConfig(cfg.Parameters)
	if err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	user, realm := cfg.User, cfg.Parameters["krb5-realm"]
	if realm == "" {
		user, realm, _ = strings.Cut(user, "@")
	}
	realm = cmp.Or(realm, conf.LibDefaults.DefaultRealm)
	settings := client.DisablePAFXFAST(true) // which Active Directory does not take
	l := &login{spn: cfg.ServerSPN}
	if user != "" && cfg.Password != "" {
		l.client = client.NewWithPassword(user, realm, cfg.Password, conf, settings)
		return l, nil
	}
	if file := keytabFile(cfg.Parameters, conf); user != "" && file != "" {
		keys, err := keytab.Load(file)
		if err != nil {
			return nil, fmt.Errorf("kerberos: the keytab: %w", err)
		}
		l.client = client.NewWithKeytab(user, realm, keys, conf, settings)
		return l, nil
	}
	file := fromEnv(cfg.Parameters["krb5-credcachefile"], "KRB5CCNAME")
	if file == "" {
		return nil, errNoCredentials
	}
	cache, err := credentials.LoadCCache(file)
	if err == nil {
		l.client, err = client.NewFromCCache(cache, conf, settings)
	}
	if err != nil {
		return nil, fmt.Errorf("kerberos: the credential cache: %w", err)
	}
	return l, nil
}

func loadConfig(params map[string]string) (*config.Config, error) {
	conf, err := config.Load(cmp.Or(params["krb5-configfile"], os.Getenv("KRB5_CONFIG"), "/etc/krb5.conf"))
	if err != nil {
		return nil, err
	}
	conf.LibDefaults.DNSLookupKDC = true
	conf.LibDefaults.UDPPreferenceLimit = 1 // TCP: tickets of Active Directory are large
	if s, ok := params["krb5-dnslookupkdc"]; ok {
		if conf.LibDefaults.DNSLookupKDC, err = strconv.ParseBool(s); err != nil {
			return nil, fmt.Errorf("krb5-dnslookupkdc is %.20q; want true or false", s)
		}
	}
	if s, ok := params["krb5-udppreferencelimit"]; ok {
		if conf.LibDefaults.UDPPreferenceLimit, err = strconv.Atoi(s); err != nil {
			return nil, fmt.Errorf("krb5-udppreferencelimit is %.20q; want a number of bytes", s)
		}
	}
	return conf, nil
}

// keytabFile returns the file with the user's keys, or "".
func keytabFile(params map[string]string, conf *config.Config) string {
	if file := fromEnv(params["krb5-keytabfile"], "KRB5_KTNAME"); file != "" {
		return file
	}
	for _, file := range []string{conf.LibDefaults.DefaultClientKeytabName, conf.LibDefaults.DefaultKeytabName} {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return ""
}

// fromEnv returns file, or what the environment names instead. MIT Kerberos
// writes FILE: before it.
func fromEnv(file, variable string) string {
	return strings.TrimPrefix(cmp.Or(file, os.Getenv(variable)), "FILE:")
}

// InitialBytes gets a ticket for the server, and returns the token to send.
func (l *login) InitialBytes() ([]byte, error) {
	if err := l.client.Login(); err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	token, err := spnego.SPNEGOClient(l.client, l.spn).InitSecContext()
	if err != nil {
		return nil, fmt.Errorf("kerberos: a ticket for %s: %w", l.spn, err)
	}
	return token.Marshal()
}

// NextBytes reads the server's answer. It ends the exchange: mutual
// authentication is not asked for, since the tunnel has proved the server.
func (l *login) NextBytes(answer []byte) ([]byte, error) {
	var r spnego.NegTokenResp
	if err := r.Unmarshal(answer); err != nil {
		return nil, fmt.Errorf("kerberos: the server's answer: %w", err)
	}
	if r.State() == spnego.NegStateReject {
		return nil, errors.New("kerberos: the server refuses the ticket")
	}
	return nil, nil
}

// Free forgets the credentials.
func (l *login) Free() { l.client.Destroy() }
