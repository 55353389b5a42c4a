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

// A new one begins in internal/admin/addresses.go, with its place in the order of AddressTypes.

// The types of address.
const (
	PublicIP  IPType = admin.Public  // reachable from the internet
	PrivateIP IPType = admin.Private // reachable inside a VPC network, by private services access
	PSC       IPType = admin.PSC     // a Private Service Connect endpoint, reached by its DNS name
)

// ParseIPType parses PUBLIC, PRIVATE or PSC in any letter case.
func ParseIPType(s string) (IPType, error) {
	if t := IPType(strings.ToUpper(s)); t.valid() {
		return t, nil
	}
	return "", failure.Mark(ErrConfig, fmt.Errorf("unknown IP type %s; want one of %v", failure.Quote(s), admin.AddressTypes))
}

// ParseIPTypes parses a list for [WithIPTypes], in order of preference: types
// separated by commas, such as "PRIVATE,PUBLIC", each as for [ParseIPType].
// An empty list, spaces, and a type that appears twice are an [ErrConfig].
func ParseIPTypes(s string) ([]IPType, error) {
	var types []IPType
	for word := range strings.SplitSeq(s, ",") {
		t := IPType(strings.ToUpper(word))
		if !t.valid() || slices.Contains(types, t) {
			return nil, failure.Mark(ErrConfig, fmt.Errorf("IP types %s; want some of %v, each once, separated by commas without spaces", failure.Quote(s), admin.AddressTypes))
		}
		types = append(types, t)
	}
	return types, nil
}

// String returns PUBLIC, PRIVATE or PSC.
func (t IPType) String() string { return string(t) }

func (t IPType) valid() bool { return slices.Contains(admin.AddressTypes, string(t)) }
