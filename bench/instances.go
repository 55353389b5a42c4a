package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// manyInstances is how many instances one Dialer gets.
const manyInstances = 1000

// warmer is what both connectors have.
type warmer interface {
	subject
	warmup(ctx context.Context, instance string) error
}

func (o *ours) warmup(ctx context.Context, instance string) error {
	return o.Warmup(ctx, instance)
}

func (p *theirs) warmup(ctx context.Context, instance string) error {
	return p.Warmup(ctx, instance)
}

// warmupCall is how long a call of the API takes then.
const warmupCall = 50 * time.Millisecond

// warmups measures a thousand instances that are warmed at once, with an API
// that takes 50 ms a call.
func warmups(ctx context.Context, r *run) error {
	names := make([]string, manyInstances)
	for i := range names {
		names[i] = r.nextInstance()
	}
	t, err := r.kit.add(InstanceSpec{Names: names})
	if err != nil {
		return err
	}
	t.URL = r.kit.SecureURL
	if err := r.kit.setAPI(warmupCall, 0); err != nil {
		return err
	}
	defer func() { _ = r.kit.setAPI(0, 0) }()
	rounds := r.pick(1, 5)
	r.section("1,000 instances warmed at once", fmt.Sprintf("With an Admin API at 50 ms a call, over HTTPS and HTTP/2. Goroutines are those that are there when the %d callers have gone. Median of %d.", manyInstances, rounds))
	tab := table{head: []string{"", "wall", "client CPU", "API calls", "calls under way at most", "connections to the API", "goroutines at most", "goroutines after", "failed"}}
	figures := map[string][]warmupFigures{}
	for range rounds {
		for _, name := range connectorNames {
			f, err := warmAll(ctx, r, t, name, names)
			if err != nil {
				return err
			}
			figures[name] = append(figures[name], f)
		}
	}
	median := func(name string, pick func(warmupFigures) float64) spread {
		var v []float64
		for _, f := range figures[name] {
			v = append(v, pick(f))
		}
		return spreadOf(v)
	}
	wall := func(f warmupFigures) float64 { return f.wall.Seconds() }
	busy := func(f warmupFigures) float64 { return float64(f.calls.AtOnce) }
	conns := func(f warmupFigures) float64 { return float64(f.calls.Conns) }
	after := func(f warmupFigures) float64 { return float64(f.after) }
	for _, name := range connectorNames {
		tab.rows = append(tab.rows, []string{name,
			with(median(name, wall), "s"),
			with(median(name, func(f warmupFigures) float64 { return f.cpu.Seconds() }), "s"),
			with(median(name, func(f warmupFigures) float64 { return float64(f.calls.Calls) }), ""),
			with(median(name, busy), ""),
			with(median(name, conns), ""),
			with(median(name, func(f warmupFigures) float64 { return float64(f.peak) }), ""),
			with(median(name, after), ""),
			with(median(name, func(f warmupFigures) float64 { return float64(f.failed) }), ""),
		})
	}
	r.text(warmupSentence(median(oursName, wall), median(peerName, wall), median(oursName, busy), median(peerName, busy)))
	r.table(tab)
	r.bar("1,000 instances: connections to the Admin API", "≤ 8", fmt.Sprintf("%.0f (Google's %.0f)",
		median(oursName, conns).high, median(peerName, conns).median), median(oursName, conns).high <= 8)
	r.bar("1,000 instances: goroutines", "O(1)", fmt.Sprintf("%.0f after the warm-up (Google's %.0f)",
		median(oursName, after).high, median(peerName, after).median), median(oursName, after).high < 50)
	return nil
}

// warmupSentence says who is ready first, and why.
func warmupSentence(mine, theirs, mineAtOnce, theirsAtOnce spread) string {
	first := "Ours is ready first"
	if mine.median > theirs.median {
		first = "Google's is ready first, and ours is slower on purpose"
	}
	// The two calls of a refresh go beside each other.
	const turns = (manyInstances + admin.MaxRefreshes - 1) / admin.MaxRefreshes
	floor := turns * warmupCall
	return fmt.Sprintf("%s: ours after %s, Google's after %s. A Dialer of ours has at most %d refreshes under way, so that a program that starts does not flood the\nAPI: %d instances need %.2f s then, however fast the machine is. There were up to %.0f calls under way at once; from Google's, up to %.0f.",
		first, with(mine, "s"), with(theirs, "s"), admin.MaxRefreshes, manyInstances, floor.Seconds(), mineAtOnce.median, theirsAtOnce.median)
}

type warmupFigures struct {
	wall, cpu   time.Duration
	calls       APICalls
	peak, after int
	failed      int64
}

func warmAll(ctx context.Context, r *run, t target, name string, instances []string) (f warmupFigures, err error) {
	s, err := connector(name, t, r.key)
	if err != nil {
		return f, err
	}
	defer s.Close()
	if _, err := r.kit.calls(); err != nil {
		return f, err
	}
	before := settledGoroutines()
	done, peak := make(chan struct{}), make(chan int)
	go func() { // ends with done, and is waited for by the reading of peak
		most, tick := 0, time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, runtime.NumGoroutine()-before)
			case <-done:
				peak <- most
				return
			}
		}
	}()
	var failed atomic.Int64
	cpu, start := cpuTime(), time.Now()
	_ = atOnce(len(instances), len(instances), func(i int) error {
		if s.(warmer).warmup(ctx, instances[i]) != nil {
			failed.Add(1)
		}
		return nil
	})
	f.wall, f.cpu, f.failed = time.Since(start), cpuTime()-cpu, failed.Load()
	close(done)
	f.peak, f.after = <-peak, settledGoroutines()-before
	f.calls, err = r.kit.calls()
	return f, err
}

// refreshFile names the file that the test of refreshes on fake time writes.
const refreshFile = "CLOUDSQLCONN_BENCH_REFRESHES"

// refreshCounts is what the Admin API has seen on fake time.
type refreshCounts struct {
	PerSecond []int // calls in each second
}

// refreshes counts the calls of the Admin API over hours of fake time, which
// only a test has.
func refreshes(ctx context.Context, r *run) error {
	dir, err := os.MkdirTemp("", "cloudsqlconn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r.section("1,000 instances through refreshes", `Calls of the Admin API on fake time, in the process of a test (testing/synctest): all instances are warmed in the first second,
and each is asked for every five minutes after that, at times of its own. "Third hour" is what follows the first two.`)
	tab := table{head: []string{"", "calls in the third hour", "mean a second", "peak second", "peak minute / 60", "peak second / mean", "peak minute / mean"}}
	var series []line
	for _, name := range connectorNames {
		file := filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-run=^TestRefreshesOfAThousandInstances$/^"+name+"$", ".")
		cmd.Env = append(os.Environ(), refreshFile+"="+file)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var c refreshCounts
		if err := json.Unmarshal(text, &c); err != nil {
			return err
		}
		last := c.PerSecond[2*3600:]
		sum, second, minute := total(last), most(last, 1), most(last, 60)
		mean := float64(sum) / float64(len(last))
		tab.rows = append(tab.rows, []string{name, fmt.Sprint(sum), fmt.Sprintf("%.2f", mean), fmt.Sprint(second),
			fmt.Sprintf("%.2f", float64(minute)/60), fmt.Sprintf("%.1f", float64(second)/mean), fmt.Sprintf("%.1f", float64(minute)/60/mean)})
		series = append(series, line{name, perMinute(c.PerSecond)})
		if name == oursName {
			r.bar("1,000 instances: refreshes spread", "peak second ≤ 3 × mean after two hours",
				fmt.Sprintf("peak second %.1f × mean, peak minute %.1f × mean", float64(second)/mean, float64(minute)/60/mean), mean > 0 && float64(second) <= 3*mean)
		}
	}
	r.text(fmt.Sprintf("In the third hour, ours calls the API %s times in its busiest second, Google's %s times.", tab.rows[0][3], tab.rows[1][3]))
	r.plot(linePlot{"refreshes", "1,000 instances: calls of the Admin API in each minute", "minutes", "calls", 30, series})
	r.table(tab)
	return nil
}

func total(counts []int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// most is the most calls in so many seconds.
func most(counts []int, window int) (peak int) {
	for i := 0; i+window <= len(counts); i += window {
		peak = max(peak, total(counts[i:i+window]))
	}
	return peak
}

func perMinute(counts []int) (minutes []float64) {
	for i := 0; i+60 <= len(counts); i += 60 {
		minutes = append(minutes, float64(total(counts[i:i+60])))
	}
	return minutes
}
