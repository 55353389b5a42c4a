package sqldriver

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// CheckInstance refuses what is not the name of an instance, nor can be one for
// a Resolver: what a direct connection has for a host, and half a name.
func CheckInstance(name string) error {
	switch {
	case strings.HasPrefix(name, "/"), name == "", name == "localhost", net.ParseIP(name) != nil:
		return fmt.Errorf("%w: %q is not an instance connection name; want project:region:instance", cloudsqlconn.ErrBadName, name)
	case strings.Contains(name, ":"):
		_, err := cloudsqlconn.ParseName(name)
		return err
	}
	return nil
}

// ConfigError returns the error of a constructor. Unless it is one already, it is
// ErrConfig or ErrBadName, with hint.
func ConfigError(err error, hint string) error {
	if _, ok := errors.AsType[*cloudsqlconn.Error](err); ok || err == nil {
		return err
	}
	if !errors.Is(err, cloudsqlconn.ErrBadName) && !errors.Is(err, cloudsqlconn.ErrConfig) {
		err = fmt.Errorf("%w: %w", cloudsqlconn.ErrConfig, err)
	}
	return &cloudsqlconn.Error{Op: cloudsqlconn.OpConfig, Hint: hint, Err: err}
}
