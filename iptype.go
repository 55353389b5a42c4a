package cloudsqlconn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
)

// IPType is a kind of address that an instance can have.
type IPType string

// The types of address.
const (
	PublicIP  IPType = admin.Public  // reachable from the internet
	PrivateIP IPType = admin.Private // reachable inside a VPC network, by private services access
	PSC       IPType = admin.PSC     // a Private Service Connect endpoint, reached by its DNS name
)

// allIPTypes are all of them, in the order in which they are tried by default.
var allIPTypes = []IPType{PublicIP, PrivateIP, PSC}

// ParseIPType parses PUBLIC, PRIVATE or PSC in any letter case.
func ParseIPType(s string) (IPType, error) {
	if t := IPType(strings.ToUpper(s)); t.valid() {
		return t, nil
	}
	return "", failure.Mark(ErrConfig, fmt.Errorf("unknown IP type %s; want one of %v", failure.Quote(s), allIPTypes))
}

// ParseIPTypes parses a list for [WithIPTypes], in order of preference: types
// separated by commas, such as "PRIVATE,PUBLIC", each as for [ParseIPType].
// An empty list, spaces, and a type that appears twice are an [ErrConfig].
func ParseIPTypes(s string) ([]IPType, error) {
	var types []IPType
	for word := range strings.SplitSeq(s, ",") {
		t := IPType(strings.ToUpper(word))
		if !t.valid() || slices.Contains(types, t) {
			return nil, failure.Mark(ErrConfig, fmt.Errorf("IP types %s; want some of %v, each once, separated by commas without spaces", failure.Quote(s), allIPTypes))
		}
		types = append(types, t)
	}
	return types, nil
}

// String returns PUBLIC, PRIVATE or PSC.
func (t IPType) String() string { return string(t) }

func (t IPType) valid() bool { return slices.Contains(allIPTypes, t) }

// WithPublicIP connects to the instance's public address only.
func WithPublicIP() DialOption { return WithIPTypes(PublicIP) }

// WithPrivateIP connects to the instance's private address only.
func WithPrivateIP() DialOption { return WithIPTypes(PrivateIP) }

// WithPSC connects to the instance's Private Service Connect endpoint only.
func WithPSC() DialOption { return WithIPTypes(PSC) }

// WithAutoIP tries the public, then the private, then the PSC address,
// whichever the instance has, as [WithIPTypes] says. This is the default.
func WithAutoIP() DialOption { return WithIPTypes(allIPTypes...) }

// WithIPTypes tries the instance's addresses of these types, in this order.
//
// The next address is tried when the one before has failed, or in parallel with it
// when it has not answered for 250 ms (RFC 8305; less for a Dial with little time).
// TLS is spoken on the first connection to open; another address is used only if
// that fails, or if it has used up its share of the time, 5 s at most, while there
// are addresses that have not been tried. An address that has not answered comes
// last for the next ten minutes, or until the instance gets other addresses or
// another server CA, and so does one where something other than the instance was
// found. For a read pool, each Dial begins with a different node, and the pool's own
// addresses come after the nodes; a node that refuses connections comes last for 30
// seconds.
func WithIPTypes(types ...IPType) DialOption {
	texts := make([]string, len(types))
	for i, t := range types {
		texts[i] = string(t)
	}
	return dialOption(func(d *dialConfig) { d.types = texts })
}
