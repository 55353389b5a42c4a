// Package sqladmin has the messages of the SQL Admin API, version v1beta4, that
// this library and its kit exchange, with the fields that they use. Source: the
// API's reference, https://cloud.google.com/sql/docs/mysql/admin-api/rest/v1beta4. It
// knows nothing of what is done with them.
package sqladmin

import (
	"net/http"

	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
)

// ConnectSettings is an instance's metadata.
type ConnectSettings struct {
	Kind                          string                   `json:"kind,omitempty"`
	BackendType                   string                   `json:"backendType,omitempty"`
	ConnectionName                string                   `json:"connectionName,omitempty"`
	CustomSubjectAlternativeNames []string                 `json:"customSubjectAlternativeNames,omitempty"`
	DatabaseVersion               string                   `json:"databaseVersion,omitempty"`
	DnsName                       string                   `json:"dnsName,omitempty"`
	DnsNames                      []*DnsNameMapping        `json:"dnsNames,omitempty"`
	IpAddresses                   []*IpMapping             `json:"ipAddresses,omitempty"`
	MdxProtocolSupport            []string                 `json:"mdxProtocolSupport,omitempty"`
	NodeCount                     int64                    `json:"nodeCount,omitempty"`
	Nodes                         []*ConnectPoolNodeConfig `json:"nodes,omitempty"`
	PscEnabled                    bool                     `json:"pscEnabled,omitempty"`
	Region                        string                   `json:"region,omitempty"`
	ServerCaCert                  *SslCert                 `json:"serverCaCert,omitempty"`
	ServerCaMode                  string                   `json:"serverCaMode,omitempty"`

	// Header has the headers of the answer.
	Header http.Header `json:"-"`
}

// ConnectPoolNodeConfig is one node of a read pool.
type ConnectPoolNodeConfig struct {
	Name        string            `json:"name,omitempty"`
	DnsName     string            `json:"dnsName,omitempty"`
	DnsNames    []*DnsNameMapping `json:"dnsNames,omitempty"`
	IpAddresses []*IpMapping      `json:"ipAddresses,omitempty"`
}

// DnsNameMapping is a DNS name, and what it is good for.
type DnsNameMapping struct {
	Name           string `json:"name,omitempty"`
	ConnectionType string `json:"connectionType,omitempty"`
	DnsScope       string `json:"dnsScope,omitempty"`
	RecordManager  string `json:"recordManager,omitempty"`
}

// IpMapping is an address, and its kind.
type IpMapping struct {
	Type         string `json:"type,omitempty"`
	IpAddress    string `json:"ipAddress,omitempty"`
	TimeToRetire string `json:"timeToRetire,omitempty"` // RFC 3339
}

// SslCert is a certificate.
type SslCert struct {
	Kind             string `json:"kind,omitempty"`
	Cert             string `json:"cert,omitempty"` // PEM
	CertSerialNumber string `json:"certSerialNumber,omitempty"`
	CommonName       string `json:"commonName,omitempty"`
	CreateTime       string `json:"createTime,omitempty"`
	ExpirationTime   string `json:"expirationTime,omitempty"`
	Instance         string `json:"instance,omitempty"`
	Sha1Fingerprint  string `json:"sha1Fingerprint,omitempty"`
}

// GenerateEphemeralCertRequest asks for a client certificate.
type GenerateEphemeralCertRequest struct {
	PublicKey     string `json:"public_key,omitempty"`   // PKIX, PEM
	AccessToken   string `json:"access_token,omitempty"` // for IAM login
	ValidDuration string `json:"validDuration,omitempty"`
}

// GenerateEphemeralCertResponse is a client certificate.
type GenerateEphemeralCertResponse struct {
	EphemeralCert *SslCert `json:"ephemeralCert,omitempty"`
}

// version stands before the path of every call.
const version = "sql/v1beta4/"

// Get asks for an instance's metadata. root is the API's URL, with a slash at its end.
func Get(root, project, instance string) googleapi.Call {
	return googleapi.Call{Method: http.MethodGet, URL: root + version + path(project, instance) + "/connectSettings"}
}

// Resolve asks for the metadata of the instance that has a DNS name, which ends in a dot.
func Resolve(root, location, dnsName string) googleapi.Call {
	return googleapi.Call{
		Method: http.MethodGet,
		URL:    root + version + "locations/" + googleapi.Segment(location) + "/dns/" + googleapi.Segment(dnsName) + ":resolveConnectSettings",
	}
}

// GenerateEphemeralCert asks for a client certificate.
func GenerateEphemeralCert(root, project, instance string, req *GenerateEphemeralCertRequest) googleapi.Call {
	return googleapi.Call{Method: http.MethodPost, URL: root + version + path(project, instance) + ":generateEphemeralCert", Body: req}
}

func path(project, instance string) string {
	return "projects/" + googleapi.Segment(project) + "/instances/" + googleapi.Segment(instance)
}
