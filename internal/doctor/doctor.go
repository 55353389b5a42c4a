// Package doctor takes the hops of a Dial one by one, up to the first byte from the
// database, and says what it has found at each. The list of hops is in hops.go, their
// order in [Path.Walk]; they are taken in name.go, api.go, stream.go and address.go, and the
// root package names them to the world. It uses nothing that is remembered of the
// instance, and knows the Dialer, its options and its errors only by what it is given.
package doctor

import (
	"context"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/auth"
	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

// How a hop can end.
const (
	Passed  = "ok"
	Failed  = "failed"
	Skipped = "skipped"
)

// Step is a hop that was taken, or skipped.
type Step struct {
	Hop, Target, Result string
	Duration            time.Duration
	Detail, Hint        string
	Err                 error // nil unless Result is Failed

	cause error // what was made into Err
}

// Target is what the name stands for.
type Target struct {
	admin.Instance
	Domain  string   // the DNS name that was asked for, or ""
	Hosts   []string // the addresses of the DNS name itself
	AnyName bool     // the server's certificate need not be for Domain
}

// Name is the instance's connection name.
func (t *Target) Name() string { return t.Project + ":" + t.Region + ":" + t.ID }

// Path is the way of a Dial.
type Path struct {
	Name    string // that is to be resolved, for people
	DNS     bool   // it is looked up
	Resolve func(ctx context.Context) (Target, error)

	From         []string          // what has set the credentials; empty: nothing has
	File         string            // that holds them, or ""
	Credentials  *auth.Credentials // nil: they are the program's own
	Admin        *admin.Client
	AdminHost    string
	QuotaProject string // "": that of the token
	IAM          bool   // the Dial logs in with IAM

	Stream *Stream // nil: by an address

	Types []string // of address
	Way   reach.Way
	Signs reach.Signs

	// Fail returns the error of a step, and its hint: the one that it is given, or
	// else the one that belongs to the error.
	Fail func(op, instance string, err error, hint string) (told string, failed error)
}

// Walk takes all hops, as far as that makes sense after one that has failed.
func (p *Path) Walk(ctx context.Context) []Step {
	w := &walk{Path: p, answered: map[int]bool{}}
	named := w.resolve(ctx)
	authorised := w.authorise(ctx)
	if p.Stream != nil && !w.stream(ctx, named, authorised) {
		return w.steps
	}
	m := w.metadata(ctx, named, authorised)
	info := w.certificate(ctx, m)
	w.addresses(ctx, m, info)
	return w.steps
}

// walk is a Walk in progress.
type walk struct {
	*Path
	steps    []Step
	target   Target
	instance string       // its name, once it is known
	answered map[int]bool // whether MySQL has, by node of a read pool; 0 is the instance
}
