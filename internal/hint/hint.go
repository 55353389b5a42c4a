// Package hint says what to do about failures: pure functions, from a typed error to
// a sentence or two. What a server or a file has said goes into a command only in the
// form that it must have. Hints about data source names, other engines and logins to a
// database are the drivers', those that only a Check gives are doctor's (hops.go,
// firstbyte.go), that about a database that says nothing is refusal.SilentHint, and an
// [admin.ConfigError] brings its own. It knows no option but by its name, and does
// nothing.
package hint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/caller"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// Hint says what to do about the failure of a step.
func (s Subject) Hint(op string, err error) string {
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
		refused *reach.RefusedError
		said    *mdx.Error
		way     Hinter
		host    *caller.EmulatorHostError
		absent  *admin.AbsentError
	)
	switch {
	case errors.As(err, &token):
		return s.tokenHint(err)
	case errors.As(err, &host):
		return "Set CLOUDSQLCONN_EMULATOR_HOST to host and port of the emulator's Admin API and nothing else, such as 127.0.0.1:13307, as it prints at its start; or unset it to connect to Cloud SQL."
	case errors.As(err, &absent) && admin.Stranger(err):
		return s.impostorHint()
	case errors.As(err, &absent):
		return "No emulator listens at " + net.JoinHostPort(s.API.Host, s.API.Port) + ", where CLOUDSQLCONN_EMULATOR_HOST says that its Admin API is: start it, or correct the variable, or unset it to connect to Cloud SQL."
	case errors.As(err, &call):
		return s.callHint(call, err)
	case errors.As(err, &reply):
		return s.impostorHint()
	case errors.As(err, &unready):
		return "Wait until the instance is RUNNABLE: " + s.gcloud("describe", "--format='value(state)'") + "."
	case errors.As(err, &aged):
		return cmp.Or(Clock(aged.ClockOffset, TheAPI), "A new certificate is valid for an hour: check this machine's clock and its time zone.")
	case errors.Is(err, refresh.ErrExpired):
		return "If this is an IAM login, the token source returns tokens that have less than a second left; otherwise check this machine's clock."
	case errors.As(err, &lookup):
		return lookupHint(lookup)
	case errors.Is(err, failure.ErrBadName):
		return "Copy the connection name from `gcloud sql instances describe INSTANCE --format='value(connectionName)'`; DNS names need the option WithDNSResolver."
	case errors.As(err, &addr):
		return s.addressHint(addr)
	case errors.As(err, &config):
		return config.Hint
	case errors.As(err, &refused):
		return refusedCertificate(refused.ClockOffset)
	case errors.As(err, &said):
		return refusedExchange
	case errors.As(err, &way):
		return way.Hint(s, err)
	case op == failure.OpStream && errors.Is(err, context.DeadlineExceeded):
		return "Check that this machine can reach SQL Data (" + at(s.Stream) + ", through HTTPS_PROXY if that is set), and give the Dial more time."
	case errors.Is(err, context.Canceled), errors.Is(err, failure.ErrConfig):
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
		return s.unreachableHint(failed)
	case op == failure.OpDial:
		return "Check that this machine can reach the instance's address on TCP port 3307: firewall rules, VPC network, and for a private address the network that this program runs in."
	case op == failure.OpRefresh:
		return "Check that this machine can reach the Admin API (" + at(s.API) + ", through HTTPS_PROXY if that is set), and try again."
	}
	return ""
}

// Hinter is an error that says itself what to do. whole has it in its chain.
type Hinter interface {
	error
	Hint(s Subject, whole error) string
}

// Subject is the instance that a hint is about, as gcloud names it, and the
// services that lead to it.
type Subject struct {
	Project, Instance string
	API, Stream       sqldata.Endpoint
	Emulated          bool // API is an emulator that the environment names
}

// at tells where a service is.
func at(e sqldata.Endpoint) string { return e.Host + ", TCP port " + e.Port }

// gcloud is a command about the instance.
func (s Subject) gcloud(verb, more string) string {
	return fmt.Sprintf("`gcloud sql instances %s %s --project=%s %s`", verb, s.Instance, s.Project, more)
}

// Join puts one sentence after the other.
func Join(hints ...string) string {
	return strings.Join(slices.DeleteFunc(hints, func(h string) bool { return h == "" }), " ")
}
