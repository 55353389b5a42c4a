// Package mssqlconfig makes configurations of go-mssqldb fit for a Dialer's tunnel. It knows
// nothing of connections.
package mssqlconfig

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/kerberos"
)

// TakeSettings removes what is for direct connections only: see the table in the
// documentation of driver/sqlserver. What cannot work inside the tunnel is ErrConfig.
// verify reports whether the Dialer is to verify the server of TLS inside TDS.
func TakeSettings(cfg *msdsn.Config) (verify bool, err error) {
	if err := check(cfg); err != nil {
		return false, fmt.Errorf("%w: %w", cloudsqlconn.ErrConfig, err)
	}
	verify = takeTLS(cfg)
	if cfg.Parameters["dial timeout"] == "" {
		cfg.DialTimeout = -1 // the Dialer has its own
	}
	// The name of a SQL Server instance means a look-up of its port, and a host
	// that is an address or missing a name for the server.
	cfg.Instance, cfg.Port, cfg.Protocols = "", 0, []string{"tcp"}
	if cfg.ServerSPN == "" {
		cfg.ServerSPN = "MSSQLSvc/" + cfg.Host + ":1433"
	}
	if cfg.Parameters[authenticator] == "krb5" {
		cfg.Parameters[authenticator] = kerberos.Provider
	}
	return verify, nil
}

const authenticator = "authenticator"

// check refuses what cannot work inside the tunnel.
func check(cfg *msdsn.Config) error {
	if cfg.Encryption == msdsn.EncryptionStrict {
		return errors.New("encrypt=strict (TLS around TDS) is not supported inside the Dialer's TLS tunnel; leave encrypt out, or use encrypt=true")
	}
	if p := cfg.Parameters["protocol"]; p != "" && p != "tcp" {
		return fmt.Errorf("the protocol is %.20q; Cloud SQL has tcp alone", p)
	}
	if cfg.FailOverPartner != "" {
		return errors.New("failoverpartner names a second server; the instance keeps its name when it fails over")
	}
	if cfg.Parameters[authenticator] == "krb5" && cfg.ServerSPN == "" && (net.ParseIP(cfg.Host) != nil || !strings.Contains(cfg.Host, ".")) {
		return errors.New("the host has no domain; with authenticator=krb5 it is the instance's name in the domain, as sqlserver.ServerName makes it")
	}
	return nil
}

// takeTLS makes cfg do TLS inside TDS, should it come to that, and reports
// whether the Dialer is to verify the server.
func takeTLS(cfg *msdsn.Config) (verify bool) {
	if cfg.TLSConfig == nil {
		// With encrypt=disable, too, go-mssqldb does TLS if the server insists;
		// without a configuration it would ask the system's CAs.
		cfg.TLSConfig, _ = msdsn.SetupTLS("", "", true, cfg.Host, cfg.Parameters["tlsmin"]) // fails on files only
	}
	t := cfg.TLSConfig
	ownCA := t.RootCAs != nil && !t.InsecureSkipVerify
	ownRule := t.VerifyConnection != nil || t.VerifyPeerCertificate != nil
	trust := cfg.Parameters["trustservercertificate"] != "" && cfg.TrustServerCertificate
	if ownCA || ownRule || trust {
		return false
	}
	t.InsecureSkipVerify = true // VerifyConnection is set at each connection
	return true
}
