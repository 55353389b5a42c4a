package sqlserver

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

// kerberosProvider is what go-mssqldb knows kerberos as.
const kerberosProvider = "cloudsqlconn-krb5"

func init() {
	err := integratedauth.SetIntegratedAuthenticationProvider(kerberosProvider, integratedauth.ProviderFunc(newKerberos))
	if err != nil {
		panic(err)
	}
}

// kerberos logs in with Kerberos. It has the parameters of go-mssqldb's krb5,
// which would look up the server's name in the DNS to get a ticket for what
// that says.
type kerberos struct {
	client *client.Client
	spn    string
}

var errNoCredentials = errors.New("kerberos: neither a user with a password or krb5-keytabfile, nor krb5-credcachefile")

func newKerberos(cfg msdsn.Config) (integratedauth.IntegratedAuthenticator, error) {
	conf, err := kerberosConfig(cfg.Parameters)
	if err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	user, realm := cfg.User, cfg.Parameters["krb5-realm"]
	if realm == "" {
		user, realm, _ = strings.Cut(user, "@")
	}
	realm = cmp.Or(realm, conf.LibDefaults.DefaultRealm)
	settings := client.DisablePAFXFAST(true) // which Active Directory does not take
	k := &kerberos{spn: cfg.ServerSPN}
	if user != "" && cfg.Password != "" {
		k.client = client.NewWithPassword(user, realm, cfg.Password, conf, settings)
		return k, nil
	}
	if file := keytabFile(cfg.Parameters, conf); user != "" && file != "" {
		keys, err := keytab.Load(file)
		if err != nil {
			return nil, fmt.Errorf("kerberos: the keytab: %w", err)
		}
		k.client = client.NewWithKeytab(user, realm, keys, conf, settings)
		return k, nil
	}
	file := fromEnv(cfg.Parameters["krb5-credcachefile"], "KRB5CCNAME")
	if file == "" {
		return nil, errNoCredentials
	}
	cache, err := credentials.LoadCCache(file)
	if err == nil {
		k.client, err = client.NewFromCCache(cache, conf, settings)
	}
	if err != nil {
		return nil, fmt.Errorf("kerberos: the credential cache: %w", err)
	}
	return k, nil
}

func kerberosConfig(params map[string]string) (*config.Config, error) {
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
func (k *kerberos) InitialBytes() ([]byte, error) {
	if err := k.client.Login(); err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	token, err := spnego.SPNEGOClient(k.client, k.spn).InitSecContext()
	if err != nil {
		return nil, fmt.Errorf("kerberos: a ticket for %s: %w", k.spn, err)
	}
	return token.Marshal()
}

// NextBytes reads the server's answer. It ends the exchange: mutual
// authentication is not asked for, since the tunnel has proved the server.
func (k *kerberos) NextBytes(answer []byte) ([]byte, error) {
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
func (k *kerberos) Free() { k.client.Destroy() }
