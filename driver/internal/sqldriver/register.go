package sqldriver

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// Register makes open available to sql.Open under name, with a Dialer made with
// opts. A taken name is an error. cleanup closes the Dialer; it is never nil.
func Register(name string, opts []cloudsqlconn.Option, open func(*cloudsqlconn.Dialer, string) (Opener, error)) (cleanup func() error, err error) {
	nothing := func() error { return nil }
	d, err := cloudsqlconn.NewDialer(context.Background(), opts...)
	if err != nil {
		return nothing, err
	}
	// sql.Register panics if the name is taken, and there is no other way to
	// ask that is safe against somebody who registers at the same time.
	defer func() {
		if r := recover(); r != nil {
			_ = d.Close()
			cleanup = nothing
			err = ConfigError(fmt.Errorf("%w: cannot register the driver %q: %v; choose another name", cloudsqlconn.ErrConfig, name, r),
				"A driver's name is taken for the life of the process: register it once, such as in main, or under another name.")
		}
	}()
	sql.Register(name, &contextDriver{func(dsn string) (Opener, error) { return open(d, dsn) }})
	return d.Close, nil
}
