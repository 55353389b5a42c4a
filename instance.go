package cloudsqlconn

import (
	"context"
	"sync"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
)

// Warmup gets an instance's metadata and certificate, so that the first Dial
// with the same options need not wait for them.
//
// With SQLDataOnly there is neither, and Warmup gets an access token. A Dialer that
// has learnt that SQL Data does not serve the instance forgets it.
func (d *Dialer) Warmup(ctx context.Context, name string, opts ...DialOption) error {
	return d.about(ctx, name, opts, func(ctx context.Context, c *connector, dc *dialConfig) error {
		c.streams.Forget()
		if dc.sqlData == SQLDataOnly {
			_, err := streams.Token(ctx, d.admin)
			return err
		}
		_, err := c.known.Cache.Get(ctx)
		return err
	})
}

// WarmupAll is [Dialer.Warmup] for many instances, 16 at a time, as many as a
// Dialer refreshes at once. It returns one error for each name, in the same order,
// nil for instances that are ready; errors.Join makes them one:
//
//	if err := errors.Join(dialer.WarmupAll(ctx, names)...); err != nil {
//
// The dial timeout bounds each instance from the moment its turn comes, ctx bounds
// them all. A name that appears again costs nothing.
func (d *Dialer) WarmupAll(ctx context.Context, names []string, opts ...DialOption) []error {
	first := map[string]int{} // where each name comes first
	var turns []int
	for i, name := range names {
		if _, again := first[name]; !again {
			first[name] = i
			turns = append(turns, i)
		}
	}
	errs := make([]error, len(names))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(len(turns), admin.MaxRefreshes) {
		wg.Go(func() {
			for i := range next {
				errs[i] = d.Warmup(ctx, names[i], opts...)
			}
		})
	}
	for _, i := range turns {
		next <- i
	}
	close(next)
	wg.Wait()
	for i, name := range names {
		errs[i] = errs[first[name]]
	}
	return errs
}

// EngineVersion returns the instance's database engine and version, as the
// Admin API spells them: POSTGRES_16, MYSQL_8_0, SQLSERVER_2022_STANDARD. New
// ones can appear at any time; look at the prefix.
func (d *Dialer) EngineVersion(ctx context.Context, name string, opts ...DialOption) (string, error) {
	info, err := d.info(ctx, name, opts)
	if err != nil {
		return "", err
	}
	return info.DatabaseVersion, nil
}

// about calls f with what knows the instance, for no longer than a Dial with opts
// may take.
func (d *Dialer) about(ctx context.Context, name string, opts []DialOption, f func(context.Context, *connector, *dialConfig) error) error {
	dc, err := d.cfg.dial.with(opts)
	if err != nil {
		return err
	}
	ctx, cancel := d.bound(ctx, dc.timeout)
	defer cancel()
	r, err := d.resolve(ctx, name)
	if err != nil {
		return err
	}
	c, err := d.connector(r.Instance, dc.iam)
	if err != nil {
		return err
	}
	if err := f(ctx, c, &dc); err != nil {
		return d.reason(c.String(), c.newError(OpRefresh, err))
	}
	return nil
}

func (d *Dialer) info(ctx context.Context, name string, opts []DialOption) (info *admin.Info, err error) {
	err = d.about(ctx, name, opts, func(ctx context.Context, c *connector, _ *dialConfig) error {
		info, err = c.known.Cache.Get(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return info, nil
}
