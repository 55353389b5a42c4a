package cloudsqlconn

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// hint says what to do about the failure of a step.
func (s subject) hint(op string, err error) string {
	var (
		token   *admin.TokenError
		call    *admin.CallError
		config  *admin.ConfigError
		reply   *admin.ReplyError
		lookup  *resolve.LookupError
		addr    *reach.NoAddressError
		failed  *reach.Error
		aged    *admin.ExpiredError
		unready *admin.NotReadyError
		proxy   *netdial.Error
		fake    *tlsverify.Error
		way     wayError
	)
	switch {
	case errors.As(err, &token):
		return tokenHint(err)
	case errors.As(err, &call):
		return s.callHint(call, err)
	case errors.As(err, &reply):
		return s.impostorHint()
	case errors.As(err, &unready):
		return "Wait until the instance is RUNNABLE: " + s.gcloud("describe", "--format='value(state)'") + "."
	case errors.As(err, &aged):
		return cmp.Or(clockHint(aged.ClockOffset, theAPI), "A new certificate is valid for an hour: check this machine's clock and its time zone.")
	case errors.Is(err, refresh.ErrExpired):
		return "If this is an IAM login, the token source returns tokens that have less than a second left; otherwise check this machine's clock."
	case errors.As(err, &lookup):
		return lookupHint(lookup)
	case errors.Is(err, ErrBadName):
		return "Copy the connection name from `gcloud sql instances describe INSTANCE --format='value(connectionName)'`; DNS names need the option WithDNSResolver."
	case errors.As(err, &addr):
		return s.addressHint(addr)
	case errors.As(err, &config):
		return config.Hint
	case errors.As(err, &way):
		return way.hint(s, err)
	case op == OpStream && errors.Is(err, context.DeadlineExceeded):
		return "Check that this machine can reach SQL Data (" + at(s.stream) + ", through HTTPS_PROXY if that is set), and give the Dial more time."
	case errors.Is(err, context.Canceled), errors.Is(err, ErrConfig):
		return ""
	case errors.As(err, &fake) && fake.Unlisted:
		return unlistedHint
	case errors.As(err, &fake):
		return s.unverifiedHint(fake, err)
	case errors.As(err, &proxy):
		return fmt.Sprintf("Check that this machine can reach the proxy %v, that the credentials in its URL are right, and that the proxy may connect to the instance's address on TCP port 3307.", proxy.Proxy)
	case errors.Is(err, reach.ErrNoConn):
		return "Fix the function that was passed to WithDialFunc: without a connection, it must return an error."
	case errors.As(err, &failed):
		return s.unreachableHint(op, failed)
	case op == OpDial:
		return "Check that this machine can reach the instance's address on TCP port 3307: firewall rules, VPC network, and for a private address the network that this program runs in."
	case op == OpRefresh:
		return "Check that this machine can reach the Admin API (" + at(s.api) + ", through HTTPS_PROXY if that is set), and try again."
	}
	return ""
}

// subject is the instance that a hint is about, as gcloud names it, and the
// services that lead to it.
type subject struct {
	project, instance string
	api, stream       sqldata.Endpoint
}

func (c *config) subject(instance string) subject {
	s := subject{"PROJECT", "INSTANCE", c.apiEndpoint(), c.serviceEndpoint()}
	if n, err := ParseName(instance); err == nil {
		s.project, s.instance = n.project, n.instance
	}
	return s
}

// at tells where a service is.
func at(e sqldata.Endpoint) string { return e.Host + ", TCP port " + e.Port }

// gcloud is a command about the instance.
func (s subject) gcloud(verb, more string) string {
	return fmt.Sprintf("`gcloud sql instances %s %s --project=%s %s`", verb, s.instance, s.project, more)
}

// addressHint is for an instance without an address of the wanted types.
func (s subject) addressHint(e *reach.NoAddressError) string {
	flags := map[string]string{
		admin.Public:  "--assign-ip",
		admin.Private: "--network=NETWORK",
		admin.PSC:     "--enable-private-service-connect --allowed-psc-projects=PROJECTS",
	}
	switch {
	case len(e.Has) > 0:
		return fmt.Sprintf("Pass WithIPTypes with a type that the instance has, %v, or give it an address of the wanted type: %s.", e.Has, s.gcloud("patch", flags[e.Wanted[0]]))
	case len(e.Wanted) < len(admin.AddressTypes):
		return fmt.Sprintf("If the creation of the instance has finished, give it such an address: %s.", s.gcloud("patch", flags[e.Wanted[0]]))
	}
	return fmt.Sprintf("Check whether the creation of the instance has finished, and which addresses it has: %s.", s.gcloud("describe", "--format='value(state,ipAddresses)'"))
}

func lookupHint(e *resolve.LookupError) string {
	if e.Temporary() {
		return "Check that this machine's DNS server works and can be reached, for example with `dig TXT " + e.Domain + "`."
	}
	if ofCloudSQL(e.Domain) {
		return "Cloud SQL manages this name itself, in a private zone of the instance's VPC network: run this program in that network or in one that is peered with it for DNS, enable the Cloud DNS API in the network's project (`gcloud services enable dns.googleapis.com --project=PROJECT`), or use the instance's connection name."
	}
	return "Give " + e.Domain + " a TXT record with the instance's connection name, project:region:instance, and check with `dig TXT " + e.Domain + "` that this machine's DNS server returns it."
}

// ofCloudSQL reports whether a DNS name is in one of the zones that Cloud SQL
// manages: nobody else can give it a record.
func ofCloudSQL(domain string) bool {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	return slices.ContainsFunc([]string{".sql.goog", ".sql-psa.goog", ".sql-psc.goog"}, func(zone string) bool { return strings.HasSuffix(domain, zone) })
}

// unreachableHint is for attempts of which none led to the instance.
func (s subject) unreachableHint(op string, e *reach.Error) string {
	others := ""
	if len(e.Others) > 0 {
		others = fmt.Sprintf("The instance can also be reached at other types of address, see WithIPTypes: %v.", e.Others)
	}
	if op == OpHandshake {
		return joinHints("The connection is open, but no Cloud SQL instance answers on it: look for a firewall or proxy that inspects TLS, and check whether the instance is running: "+s.gcloud("describe", "--format='value(state)'")+".", others)
	}
	ways := []string{"Check the network path to TCP port 3307"}
	for _, kind := range []struct{ kind, hint string }{
		{admin.Public, "for a public address, firewalls must allow this machine to connect to that port on the internet"},
		{admin.Private, "for a private address, this program must run in the instance's VPC network or in one that is connected to it; Cloud Run, functions and App Engine need Direct VPC egress or a Serverless VPC Access connector"},
		{admin.PSC, "for PSC, this program's VPC network needs an endpoint for the instance, and a DNS record that points the instance's name to that endpoint"},
	} {
		if slices.ContainsFunc(e.Attempts, func(a *reach.Attempt) bool { return a.Kind == kind.kind }) {
			ways = append(ways, kind.hint)
		}
	}
	refused := ""
	if errors.Is(e, syscall.ECONNREFUSED) {
		refused = "A refused connection can also mean that the instance is stopped or restarting: " + s.gcloud("describe", "--format='value(state,settings.activationPolicy)'") + "."
	}
	return joinHints(strings.Join(ways, "; ")+".", refused, others)
}

// unlistedHint is for a DNS name that the instance's certificate does not have.
const unlistedHint = "Add the DNS name to the instance's custom subject alternative names, which instances with a customer-managed CA can have; or use the instance's connection name, or its own DNS name; or pass WithUnlistedDomain(true), if whoever can change the DNS record may choose the instance."

// unverifiedHint is for a server that could not prove to be the instance.
func (s subject) unverifiedHint(fake *tlsverify.Error, err error) string {
	addr, offset := "its address", time.Duration(0)
	if e, ok := errors.AsType[*reach.Error](err); ok {
		i := slices.IndexFunc(e.Attempts, func(a *reach.Attempt) bool {
			_, ok := errors.AsType[*tlsverify.Error](a.Err)
			return ok
		})
		if i >= 0 {
			addr, offset = e.Attempts[i].Addr, e.Attempts[i].ClockOffset
		}
	}
	switch {
	case expired(err):
		return cmp.Or(clockHint(offset, theAPI), "Check this machine's clock; if it is right, the instance needs a new server certificate: "+s.newCertificate(fake.CAMode)+".")
	case fake.SHA1:
		return fmt.Sprintf("What answers at %s has a certificate with the instance's name, signed with SHA-1, as those made before 2018 are; replace the instance's: %s.", addr, s.newCertificate(fake.CAMode))
	}
	return fmt.Sprintf("A server other than the instance answers at %s: compare the address with %s, and look for a proxy, a NAT rule or a DNS record that leads elsewhere.",
		addr, s.gcloud("describe", "--format='value(ipAddresses)'"))
}

// newCertificate is how the instance gets another server certificate: gcloud has
// a group of commands for an instance's own CA, and one for CAs that instances
// share.
func (s subject) newCertificate(caMode string) string {
	group := "server-ca-certs"
	if strings.HasSuffix(caMode, "_CAS_CA") {
		group = "server-certs"
	}
	return fmt.Sprintf("`gcloud sql ssl %s create --instance=%s --project=%s`, then the same with rotate in place of create", group, s.instance, s.project)
}

// expired reports whether a certificate is not valid by the local clock: it has
// expired, or its time is still to come.
func expired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// What a clock is compared with.
const (
	theAPI         = "the Admin API's"
	theTokenServer = "the clock of the server that issues access tokens"
)

// clockHint says that this machine's clock is off, "" if it is about right.
func clockHint(offset time.Duration, reference string) string {
	if offset.Abs() <= time.Minute {
		return ""
	}
	side := "ahead of"
	if offset < 0 {
		side = "behind"
	}
	return fmt.Sprintf("This machine's clock is %s %s %s: set it, on Linux with `timedatectl set-ntp true`.", span(offset.Abs()), side, reference)
}

// span is a duration in the unit that fits it.
func span(d time.Duration) string {
	units := func(unit time.Duration, name string) string {
		n := int(math.Round(float64(d) / float64(unit)))
		if n == 1 {
			return "1 " + name
		}
		return fmt.Sprintf("%d %ss", n, name)
	}
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return units(day, "day")
	case d >= 2*time.Hour:
		return units(time.Hour, "hour")
	}
	return units(time.Minute, "minute")
}

// joinHints puts one sentence after the other.
func joinHints(hints ...string) string {
	return strings.Join(slices.DeleteFunc(hints, func(h string) bool { return h == "" }), " ")
}
