package mssqlconfig

import (
	"fmt"
	"regexp"

	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/driver/internal/sqldriver"
)

// TakeInstance takes the parameter cloudsql out of cfg. It is the name of an instance, or
// can be one for the Resolver of d.
func TakeInstance(d *cloudsqlconn.Dialer, cfg *msdsn.Config) (string, error) {
	instance := cfg.Parameters["cloudsql"]
	delete(cfg.Parameters, "cloudsql")
	return instance, checkInstance(d, instance)
}

func checkInstance(d *cloudsqlconn.Dialer, s string) error {
	if s == "" {
		return fmt.Errorf("%w: the data source name has no parameter cloudsql; want cloudsql=project:region:instance", cloudsqlconn.ErrBadName)
	}
	err := sqldriver.CheckInstance(d, s)
	if err == nil && !IsDNSName(s) {
		_, err = cloudsqlconn.ParseName(s)
	}
	if err != nil {
		return fmt.Errorf("the parameter cloudsql of the data source name: %w", err)
	}
	return nil
}

var dnsName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$`)

// IsDNSName reports whether s can be a name for a Resolver: not what it should be.
func IsDNSName(s string) bool { return dnsName.MatchString(s) }
