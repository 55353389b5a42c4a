package cloudsqlconn

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/api/googleapi"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/netdial"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
)

// hint is the sentence that says what to do about the failure of a step.
func hint(op string, err error) string {
	var (
		api    *googleapi.Error
		token  *admin.TokenError
		lookup *resolve.LookupError
		proxy  *netdial.Error
	)
	switch {
	case errors.As(err, &token):
		return tokenHint(err)
	case admin.Quota(err):
		return "The quota of Admin API calls is used up: share one Dialer in the whole process, or ask for more quota."
	case errors.As(err, &api):
		return apiHint(api)
	case errors.As(err, &lookup):
		return "Give the DNS name a TXT record that holds the instance's connection name, project:region:instance, and check that this machine's DNS server knows that zone."
	case errors.Is(err, ErrBadName):
		return "Copy the connection name from `gcloud sql instances describe INSTANCE --format='value(connectionName)'`."
	case errors.Is(err, ErrNoAddress):
		return "Pass WithIPTypes with a type that the instance has, or give the instance such an address."
	case errors.Is(err, ErrUnverified):
		return "Another server answers at the instance's address: look for a proxy, a NAT rule or a DNS record that leads elsewhere."
	case errors.Is(err, refresh.ErrExpired):
		return "Set this machine's clock: a certificate that was made just now has expired by it."
	case errors.Is(err, context.Canceled), errors.Is(err, ErrConfig):
		return ""
	case op == opRefresh:
		return "Check that this machine can reach the Admin API (sqladmin.googleapis.com, TCP port 443), and try again."
	case errors.As(err, &proxy):
		return "Check that this machine reaches the proxy, that the credentials in its URL are right, and that it may connect to the instance's address on TCP port 3307."
	case op == opDial:
		return "Check that this machine can reach the instance's address on TCP port 3307: firewall rules, VPC network, and for a private address the network that this program runs in."
	}
	return ""
}

func apiHint(api *googleapi.Error) string {
	switch api.Code {
	case http.StatusBadRequest:
		return "If the instance is stopped, start it: `gcloud sql instances patch INSTANCE --activation-policy=ALWAYS`."
	case http.StatusUnauthorized:
		return "The credentials were not accepted: renew them, for example with `gcloud auth application-default login`."
	case http.StatusForbidden:
		for _, e := range api.Errors {
			if e.Reason == "accessNotConfigured" {
				return "Enable the API in the project that the credentials belong to: `gcloud services enable sqladmin.googleapis.com`."
			}
		}
		return "Grant the caller the role Cloud SQL Client (roles/cloudsql.client) on the instance's project, and check the project's name."
	case http.StatusNotFound:
		return "Check project and instance: `gcloud sql instances list --project PROJECT`."
	}
	return ""
}
