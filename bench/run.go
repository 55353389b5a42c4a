package bench

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// Options say what [Run] does.
type Options struct {
	Quick bool           // fewer rounds: some minutes instead of a quarter of an hour
	Only  *regexp.Regexp // names of workloads; nil: all
	Log   io.Writer      // told what is being measured

	// Before is a commit of this repository that has a module bench. The library
	// as it is there takes turns where the bar is about the state before. "": it
	// does not.
	Before string
}

// workloads are all that is measured, in the order of the report.
var workloads = []struct {
	name string
	run  func(context.Context, *run) error
}{
	{"cold", cold},
	{"warm", warm},
	{"parallel", dialsAtOnce},
	{"idle", idle},
	{"transfers", transfers},
	{"warmups", warmups},
	{"refreshes", refreshes},
	{"addresses", addresses},
	{"failing", failing},
	{"profiles", profiles},
	{"databases", databases},
	{"sqldata", streams},
	{"port", localPort},
	{"sizes", sizes},
}

// run is one run of the workloads.
type run struct {
	Report
	kit       *kit
	key       *rsa.PrivateKey // of all subjects
	quick     bool
	instances int // so far
}

// Run measures, and returns what it has found, with the errors of the workloads
// that could not be measured. The current folder must be that of this module.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	raiseFileLimit()
	k, err := startKit()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	forget, err := k.trust()
	if err != nil {
		return nil, err
	}
	defer forget()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	if o.Before != "" {
		if o.Before, err = commitOf(ctx, o.Before); err != nil {
			return nil, err
		}
	}
	r := &run{Report: Report{Quick: o.Quick, Before: o.Before, Start: time.Now()}, kit: k, key: key, quick: o.Quick}
	var errs []error
	for _, w := range workloads {
		if o.Only != nil && !o.Only.MatchString(w.name) {
			continue
		}
		start := time.Now()
		if err := w.run(ctx, r); err != nil {
			err = fmt.Errorf("%s: %w", w.name, err)
			r.text("Not measured: " + strings.SplitN(err.Error(), "\n", 2)[0])
			errs = append(errs, err)
		}
		fmt.Fprintf(o.Log, "%s: %.0f s\n", w.name, time.Since(start).Seconds())
	}
	r.Took = time.Since(r.Start)
	return &r.Report, errors.Join(errs...)
}

// pick returns a number for a quick run, or for a full one.
func (r *run) pick(quick, full int) int {
	if r.quick {
		return quick
	}
	return full
}

// nextInstance is the name of an instance that there has not been yet.
func (r *run) nextInstance() string {
	r.instances++
	return fmt.Sprintf("my-project:europe-west1:db-%d", r.instances)
}

// subjects makes one subject of each kind, for an instance of their own.
func (r *run) subjects(spec InstanceSpec) ([]subject, error) {
	spec.Names = []string{r.nextInstance()}
	t, err := r.kit.add(spec)
	if err != nil {
		return nil, err
	}
	return all(t, r.key)
}
