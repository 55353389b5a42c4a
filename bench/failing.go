package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// failing measures a client that keeps dialling while the Admin API fails.
func failing(ctx context.Context, r *run) error {
	seconds := r.pick(3, 10)
	r.section("A failing Admin API", fmt.Sprintf("100 Dials a second for %d s, each with one second to live, while every call of the API fails.", seconds))
	var list []string
	tab := table{head: []string{"status", "", "API calls", "CPU, share of a core", "a Dial takes"}}
	defer func() { _ = r.kit.setAPI(0, 0) }()
	for _, status := range []int{403, 503} {
		t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}})
		if err != nil {
			return err
		}
		if err := r.kit.setAPI(0, status); err != nil {
			return err
		}
		made := map[string]int{}
		for _, name := range connectorNames {
			s, err := connector(name, t, r.key)
			if err != nil {
				return err
			}
			if _, err := r.kit.calls(); err != nil {
				return err
			}
			cpu, took := keepDialing(ctx, s, time.Duration(seconds)*time.Second)
			calls, err := r.kit.calls()
			s.Close()
			if err != nil {
				return err
			}
			made[name] = calls.Calls
			tab.rows = append(tab.rows, []string{fmt.Sprint(status), name, fmt.Sprint(calls.Calls),
				fmt.Sprintf("%.1f %%", 100*cpu), with(spreadOf(took), "ms")})
		}
		list = append(list, fmt.Sprintf("With %d, ours calls the API %d times and Google's %d times.", status, made[oursName], made[peerName]))
	}
	r.text(strings.Join(list, " ") + " After a refusal that will pass, ours waits for the next try as long as the Dial has time.")
	r.table(tab)
	return nil
}

// keepDialing returns the share of a core that was used, and how long each
// Dial took, in milliseconds.
func keepDialing(ctx context.Context, s subject, during time.Duration) (cpu float64, took []float64) {
	const rate = 100
	var (
		wg sync.WaitGroup
		mu sync.Mutex // guards took
	)
	before, start := cpuTime(), time.Now()
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for range int(during.Seconds() * rate) {
		<-tick.C
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			began := time.Now()
			if dialOnce(ctx, s) == nil {
				return // the API does not fail: shows in the number of calls
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, ms(time.Since(began)))
		})
	}
	wg.Wait()
	return float64(cpuTime()-before) / float64(time.Since(start)), took
}
