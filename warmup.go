package cloudsqlconn

import (
	"context"
	"sync"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

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
