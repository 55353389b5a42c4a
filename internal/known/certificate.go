package known

import (
	"database/sql/driver"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// Accepted is told that the server has sent something over a connection made with
// info: only then it has accepted the client certificate.
func (i *Instance) Accepted(info *admin.Info) {
	if i.refused.Swap(false) {
		i.accepted.Store(info)
		i.rejecting.Store(nil)
		i.cfg.Seen.Accepted()
		i.proven(info)
	}
}

// Unheard is told why a connection made with info has ended before the server has
// said anything, and returns what that means: a [*reach.RefusedError], or err. A cut
// connection can be a refusal whose alert was lost.
func (i *Instance) Unheard(info *admin.Info, err error) error {
	alert := failure.IsAlert(err)
	if newer := i.accepted.Load(); alert && (newer == nil || !info.Asked.Before(newer.Asked)) {
		now := time.Now()
		i.rejecting.CompareAndSwap(nil, &now) // before refused is set, without which Accepted leaves it
	}
	i.refused.Store(true)
	if !alert {
		i.Cache.Refresh(info)
		return err
	}
	i.cfg.Seen.Rejected()
	i.Cache.Invalidate(info)
	// The server has done nothing yet: database/sql may connect again.
	return failure.Mark(driver.ErrBadConn, &reach.RefusedError{ClockOffset: info.ClockOffset, Err: err})
}
