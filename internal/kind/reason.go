package kind

import (
	"errors"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
)

// Reason is the reason of Google's own that the answer which err is about gives;
// "" if it gives none, and for something that cannot be one.
func Reason(err error) string {
	reason := ""
	if s, ok := errors.AsType[*sqldata.StatusError](err); ok {
		reason = s.Reason
	} else if api, ok := errors.AsType[*googleapi.Error](err); ok {
		reason = api.Reason()
	}
	const most = 100 // Google's have 63 characters
	odd := func(r rune) bool {
		return r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	if len(reason) > most || strings.ContainsFunc(reason, odd) {
		return ""
	}
	return reason
}
