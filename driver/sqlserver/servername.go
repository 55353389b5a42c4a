package sqlserver

import (
	"fmt"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/mssqlconfig"
)

// ServerName returns the name of an instance in the Active Directory domain that
// it has joined:
//
//	public|private.[instance].[location].[project].cloudsql.[domain]
//
// It is the host in a data source name with authenticator=krb5. name is
// project:region:instance; t is PublicIP or PrivateIP, whichever address the
// connection uses; domain is a name such as "ad.example.com". Domain-scoped projects
// are an error: their IDs contain a colon, which such a name cannot have. Source:
// the documentation of Cloud SQL for SQL Server with Managed Microsoft AD.
func ServerName(name string, t cloudsqlconn.IPType, domain string) (string, error) {
	n, err := cloudsqlconn.ParseName(name)
	if err != nil {
		return "", err
	}
	if strings.Contains(n.Project(), ":") {
		return "", fmt.Errorf("%w: %s has no name in a domain", cloudsqlconn.ErrBadName, n)
	}
	var kind string
	switch t {
	case cloudsqlconn.PublicIP:
		kind = "public"
	case cloudsqlconn.PrivateIP:
		kind = "private"
	default:
		return "", fmt.Errorf("%w: instances have no name in a domain for the IP type %s", cloudsqlconn.ErrConfig, t)
	}
	if !mssqlconfig.IsDNSName(domain) {
		return "", fmt.Errorf("%w: %q is not a domain", cloudsqlconn.ErrConfig, domain)
	}
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	return strings.Join([]string{kind, n.Instance(), n.Region(), n.Project(), "cloudsql", domain}, "."), nil
}
