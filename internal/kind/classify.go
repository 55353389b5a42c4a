// Package kind tells what kind of failure an error is: the sentinel that errors.Is
// finds, and the word that telemetry counts it under. It knows no words
// for people.
package kind

import (
	"errors"
	"net/http"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/googleapi"
	"github.com/cloudsqlconn/cloudsqlconn/internal/resolve"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// Told is an error that says itself what it means.
type Told interface {
	error
	Sentinel() error // nil: none
	Exhausted() bool // a quota is used up
}

// Classify returns err under the sentinel that fits it.
func Classify(err error) error {
	var (
		api        *googleapi.Error
		config     *admin.ConfigError
		misfit     *auth.ConfigError
		token      *admin.TokenError
		unverified *tlsverify.Error
		badDomain  *resolve.NameError
		lookup     *resolve.LookupError
		way        Told
	)
	switch {
	case errors.As(err, &badDomain):
		return failure.Mark(failure.ErrBadName, err)
	case errors.As(err, &lookup) && !lookup.Temporary():
		return failure.Mark(failure.ErrNotFound, err)
	case errors.As(err, &unverified):
		return failure.Mark(failure.ErrUnverified, err)
	case errors.As(err, &config), errors.As(err, &misfit):
		return failure.Mark(failure.ErrConfig, err)
	case errors.As(err, &way):
		if sentinel := way.Sentinel(); sentinel != nil {
			return failure.Mark(sentinel, err)
		}
		return err
	case errors.As(err, &token) && admin.Terminal(err):
		return failure.Mark(failure.ErrPermission, err)
	case admin.Quota(err), admin.Stranger(err):
		return err
	case errors.As(err, &api) && api.Code == http.StatusNotFound:
		return failure.Mark(failure.ErrNotFound, err)
	case errors.As(err, &api) && (api.Code == http.StatusForbidden || api.Code == http.StatusUnauthorized):
		return failure.Mark(failure.ErrPermission, err)
	}
	return err
}
