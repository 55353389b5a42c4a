package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/cloudsqlconn/cloudsqlconn/internal/answer"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqladmin"
)

// NotReadyError says that the metadata is that of an instance which is still
// being created.
type NotReadyError struct{}

// Error tells what is missing.
func (*NotReadyError) Error() string {
	return "the instance has neither a server CA nor an address yet: it is being created"
}

// NotReady reports whether err says that the instance cannot be connected to in
// the state that it is in: stopped, starting, suspended, in maintenance, or being
// created. Most of these pass within a minute or two.
func NotReady(err error) bool {
	if _, ok := errors.AsType[*NotReadyError](err); ok {
		return true
	}
	call, ok := errors.AsType[*CallError](err)
	if !ok || call.Stranger {
		return false
	}
	code, _ := refusal(call)
	return code == http.StatusConflict
}

// checkBackend reports an instance that is none of Cloud SQL's own servers of
// today.
func checkBackend(s *sqladmin.ConnectSettings) error {
	switch s.BackendType {
	case "", "SECOND_GEN", "SQL_BACKEND_TYPE_UNSPECIFIED":
		return nil
	case "FIRST_GEN":
		return &ConfigError{
			Problem: "the instance is of the first generation (backend type FIRST_GEN), which cannot be connected to like this",
			Hint:    "Move its data to a new instance: those of the first generation have no server-side proxy.",
		}
	case "EXTERNAL":
		return &ConfigError{
			Problem: "the instance stands for a database server outside Cloud SQL (backend type EXTERNAL), which Cloud SQL does not lead to",
			Hint:    "Connect to that server itself, or to the Cloud SQL instance that replicates it.",
		}
	}
	return &ConfigError{Problem: fmt.Sprintf("the instance's backend type is %s; only SECOND_GEN instances can be connected to", answer.OneLine(s.BackendType, maxText))}
}

// checkReady reports an instance that is still being created.
func checkReady(s *sqladmin.ConnectSettings) error {
	if s.DatabaseVersion != "" && s.ServerCaCert == nil && len(s.IPAddresses) == 0 && s.DNSName == "" && len(s.DNSNames) == 0 {
		return &NotReadyError{}
	}
	return nil
}
