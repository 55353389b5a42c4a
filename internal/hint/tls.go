package hint

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// unlistedHint is for a DNS name that the instance's certificate does not have.
const unlistedHint = "Add the DNS name to the instance's custom subject alternative names, which instances with a customer-managed CA can have; or use the instance's connection name, or its own DNS name; or pass WithUnlistedDomain(true), if whoever can change the DNS record may choose the instance."

// unverifiedHint is for a server that could not prove to be the instance.
func (s Subject) unverifiedHint(fake *tlsverify.Error, err error) string {
	addr, offset := "its address", time.Duration(0)
	if e, ok := errors.AsType[*reach.Error](err); ok {
		i := slices.IndexFunc(e.Addrs, func(a *reach.AddrError) bool {
			_, ok := errors.AsType[*tlsverify.Error](a.Err)
			return ok
		})
		if i >= 0 {
			addr, offset = e.Addrs[i].Addr, e.Addrs[i].ClockOffset
		}
	}
	switch {
	case expired(err):
		return cmp.Or(Clock(offset, TheAPI), "Check this machine's clock; if it is right, the instance needs a new server certificate: "+s.newCertificate(fake.CAMode)+".")
	case fake.SHA1:
		return fmt.Sprintf("What answers at %s has a certificate with the instance's name, signed with SHA-1, as those made before 2018 are; replace the instance's: %s.", addr, s.newCertificate(fake.CAMode))
	}
	return fmt.Sprintf("A server other than the instance answers at %s: compare the address with %s, and look for a proxy, a NAT rule or a DNS record that leads elsewhere.",
		addr, s.gcloud("describe", "--format='value(ipAddresses)'"))
}

// newCertificate is how the instance gets another server certificate: gcloud has
// a group of commands for an instance's own CA, and one for CAs that instances
// share.
func (s Subject) newCertificate(caMode string) string {
	group := "server-ca-certs"
	if strings.HasSuffix(caMode, "_CAS_CA") {
		group = "server-certs"
	}
	return fmt.Sprintf("`gcloud sql ssl %s create --instance=%s --project=%s`, then the same with rotate in place of create", group, s.Instance, s.Project)
}

// expired reports whether a certificate is not valid by the local clock: it has
// expired, or its time is still to come.
func expired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// refusedCertificate is for a client certificate that the server has refused. The
// offset is that of this machine's clock.
func refusedCertificate(offset time.Duration) string {
	return Join(Clock(offset, TheAPI), "Connect again: a new client certificate is being fetched. If that is refused as well, check this machine's clock, and whether the instance has been restored or its certificates have been reset.")
}

// refusedExchange is for a metadata exchange that the server has refused.
const refusedExchange = "Pass WithMetadataExchange(false): the instance does not accept what it is told about the client."
