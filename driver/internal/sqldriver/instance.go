package sqldriver

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// CheckInstance refuses what is not the name of an instance, nor can be one for
// the Resolver of d: what a direct connection has for a host, and half a name.
func CheckInstance(d *cloudsqlconn.Dialer, name string) error {
	address := strings.HasPrefix(name, "/") || name == "" || name == "localhost" || net.ParseIP(name) != nil
	if address {
		_, err := cloudsqlconn.ParseName(name)
		return err
	}
	err := d.CheckName(name)
	if err != nil && strings.Contains(name, ".") && !strings.ContainsAny(name, ":/") {
		err = fmt.Errorf("%w; a DNS name needs the option WithDNSResolver", err)
	}
	return err
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
