package known

import (
	"context"
	"errors"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
	"github.com/cloudsqlconn/cloudsqlconn/internal/refresh"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsverify"
)

// latest returns what a Dial is to begin with. If its certificate logs in with
// credentials that have been refused or looked up again since, another one is
// fetched, and serves the next Dial: this one's user has been chosen. If the server
// refuses it, and no newer one has met the same, the next one is waited for, for half
// the time that there is.
func (i *Instance) latest(ctx context.Context) (*admin.Info, error) {
	info, err := i.Cache.Get(ctx)
	if err != nil {
		return nil, err
	}
	if info.Login.Outdated() {
		i.Cache.Refresh(info)
	}
	if first := i.rejecting.Load(); first == nil || !info.Asked.Before(*first) {
		return info, nil
	}
	deadline, _ := ctx.Deadline() // a Dial has one
	half, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	if newer, err := i.Cache.Await(half, info); err == nil {
		return newer, nil
	}
	return info, nil
}

// unproven is told when a try has failed with info, and reports whether the metadata
// may only be too old: unless it was asked for after the first such failure, the
// instance may have changed before that. What other metadata has been asked for until
// then, for callers in a hurry or connections that were cut, makes nobody wait.
func (i *Instance) unproven(info *admin.Info, failedAt time.Time) bool {
	if i.failing.CompareAndSwap(nil, &failedAt) {
		if !i.hastened.Swap(true) {
			i.Cache.Hasten()
		}
		return true
	}
	first := i.failing.Load()
	return first == nil || info.Asked.Before(*first)
}

// proven is told that info works.
func (i *Instance) proven(info *admin.Info) {
	if i.failing.Load() != nil {
		i.failing.Store(nil)
	}
	if i.hastened.Load() {
		i.hastened.Store(false)
	}
	i.Cache.Confirm(info)
}

// blame tells the cache what a failed try means for info, and reports whether
// another one makes sense.
func (i *Instance) blame(ctx context.Context, info *admin.Info, err error) bool {
	var unverified *tlsverify.Error
	switch {
	case errors.Is(err, failure.ErrNoAddress):
		return false
	case failure.Over(ctx) && !errors.Is(context.Cause(ctx), failure.ErrDialTimeout):
		// The caller has gone, which says nothing about the instance. That no
		// answer came until then does: it helps the next one.
		if failed, ok := errors.AsType[*reach.Error](err); ok && failed.Silent() && i.dials.Looks.Unanswered() {
			i.Cache.Refresh(info)
		}
		return false
	case errors.As(err, &unverified), failure.IsAlert(err):
		i.Cache.Invalidate(info)
	default:
		i.Cache.Refresh(info)
	}
	return !failure.Over(ctx)
}

// landed is told how a refresh has ended.
func (i *Instance) landed(l refresh.Landing[admin.Info]) {
	i.cfg.Seen.Landed(l)
	if l.Value == nil {
		return
	}
	i.cfg.Refreshed(l.Value.Expiry)
	if l.Old == nil || l.Value.SameMetadata(l.Old) {
		return
	}
	i.failing.Store(nil)
	i.reach.Forget()
	i.cfg.Changed()
	if !l.Value.SameAddrs(l.Old) {
		i.dials.Looks.Found()
	}
	i.cfg.Dials.Moved(&i.dials, l.Value)
}
