package cloudsqltest_test

import (
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestNamesOfConstants(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]interface{ String() string }{
		"Healthy":           cloudsqltest.Healthy,
		"Silent":            cloudsqltest.Silent,
		"StallHandshake":    cloudsqltest.StallHandshake,
		"CloseAtOnce":       cloudsqltest.CloseAtOnce,
		"ResetAtOnce":       cloudsqltest.ResetAtOnce,
		"Unreachable":       cloudsqltest.Unreachable,
		"CloseAfterRefusal": cloudsqltest.CloseAfterRefusal,
		"Behavior(9)":       cloudsqltest.Behavior(9),
		"Behavior(-1)":      cloudsqltest.Behavior(-1),

		"Nowhere":   cloudsqltest.Nowhere,
		"AtStart":   cloudsqltest.AtStart,
		"InHeaders": cloudsqltest.InHeaders,
		"InBody":    cloudsqltest.InBody,
		"Point(9)":  cloudsqltest.Point(9),
		"Point(-1)": cloudsqltest.Point(-1),

		"Genuine":     cloudsqltest.Genuine,
		"ServFail":    cloudsqltest.ServFail,
		"NXDomain":    cloudsqltest.NXDomain,
		"Refused":     cloudsqltest.Refused,
		"DNSCode(9)":  cloudsqltest.DNSCode(9),
		"DNSCode(-1)": cloudsqltest.DNSCode(-1),

		"NoMetadataExchange":        cloudsqltest.NoMetadataExchange,
		"AcceptMetadata":            cloudsqltest.AcceptMetadata,
		"AcceptMetadataBytewise":    cloudsqltest.AcceptMetadataBytewise,
		"AcceptMetadataSilently":    cloudsqltest.AcceptMetadataSilently,
		"GreetFirst":                cloudsqltest.GreetFirst,
		"RefuseMetadata":            cloudsqltest.RefuseMetadata,
		"OversizedMetadataResponse": cloudsqltest.OversizedMetadataResponse,
		"MetadataExchange(9)":       cloudsqltest.MetadataExchange(9),
		"MetadataExchange(-1)":      cloudsqltest.MetadataExchange(-1),

		"AtOpen":          cloudsqltest.AtOpen,
		"AfterMetadata":   cloudsqltest.AfterMetadata,
		"AfterData":       cloudsqltest.AfterData,
		"StreamPoint(9)":  cloudsqltest.StreamPoint(9),
		"StreamPoint(-1)": cloudsqltest.StreamPoint(-1),

		"MetadataFirst":    cloudsqltest.MetadataFirst,
		"MetadataWithData": cloudsqltest.MetadataWithData,
		"MetadataNever":    cloudsqltest.MetadataNever,
		"MetadataTime(9)":  cloudsqltest.MetadataTime(9),
		"MetadataTime(-1)": cloudsqltest.MetadataTime(-1),

		"EndCanceled":   cloudsqltest.EndCanceled,
		"EndTerminate":  cloudsqltest.EndTerminate,
		"EndOK":         cloudsqltest.EndOK,
		"StreamEnd(9)":  cloudsqltest.StreamEnd(9),
		"StreamEnd(-1)": cloudsqltest.StreamEnd(-1),
	} {
		if got.String() != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
