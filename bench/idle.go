package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// idleCost is what one idle connection costs the client.
type idleCost struct {
	heap, resident float64 // bytes
	goroutines     float64
	cpu            float64 // of all connections together, share of a core
}

// idle measures connections that nobody uses.
func idle(ctx context.Context, r *run) error {
	r.section("Idle connections", "What one connection costs the client, after a garbage collection; the CPU is that of all of them together.")
	counts := []int{1000, 10_000}
	if r.quick {
		counts = counts[:1]
	}
	for _, n := range counts {
		if err := idleConns(ctx, r, n); err != nil {
			return fmt.Errorf("%d connections: %w", n, err)
		}
	}
	return nil
}

func idleConns(ctx context.Context, r *run, n int) error {
	costs := map[string][]idleCost{}
	rounds := r.pick(2, 3)
	if n >= 10_000 {
		rounds = 1 // which takes a minute and more
	}
	for range rounds {
		// Without tickets: Google's cannot resume sessions, and all are to hold the same.
		t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}, NoTickets: true})
		if err != nil {
			return err
		}
		subjects, err := all(t, r.key)
		if err != nil {
			return err
		}
		for _, s := range subjects {
			c, err := idleSubject(ctx, r, t, s, n)
			if err != nil {
				return err
			}
			costs[s.Name()] = append(costs[s.Name()], c)
		}
		closeAll(subjects)
	}
	figures := []struct {
		name, unit string
		pick       func(idleCost) float64
	}{
		{"heap", "B", func(c idleCost) float64 { return c.heap }},
		{"RSS", "B", func(c idleCost) float64 { return c.resident }},
		{"goroutines", "", func(c idleCost) float64 { return c.goroutines }},
		{"CPU", "%", func(c idleCost) float64 { return 100 * c.cpu }},
	}
	of := func(name string, pick func(idleCost) float64) spread {
		var v []float64
		for _, c := range costs[name] {
			v = append(v, pick(c))
		}
		return spreadOf(v)
	}
	tab := table{head: []string{fmt.Sprintf("%d connections", n)}}
	for _, f := range figures {
		tab.head = append(tab.head, f.name)
	}
	for _, name := range subjectNames {
		row := []string{name}
		for _, f := range figures {
			row = append(row, with(of(name, f.pick), f.unit))
		}
		tab.rows = append(tab.rows, row)
	}
	more := func(name string) float64 {
		return of(name, figures[0].pick).median - of(bareName, figures[0].pick).median
	}
	r.text(fmt.Sprintf("Beside what crypto/tls keeps, each of %d connections takes %+.0f B of heap with ours and %+.0f B with Google's.", n, more(oursName), more(peerName)))
	whole := n >= 10_000 || r.quick
	if whole {
		heap, rss := group{name: "heap of each"}, group{name: "RSS of each"}
		for _, name := range subjectNames {
			heap.bars = append(heap.bars, bar{name, of(name, figures[0].pick)})
			rss.bars = append(rss.bars, bar{name, of(name, figures[1].pick)})
		}
		r.plot(barPlot{"idle", fmt.Sprintf("%d idle connections", n), "bytes", []group{heap, rss}})
	}
	r.table(tab)
	if !whole {
		return nil
	}
	r.bar(fmt.Sprintf("%d idle connections: heap", n), "≤ bare + 300 B each", fmt.Sprintf("bare %+.0f B (Google's %+.0f B)", more(oursName), more(peerName)), more(oursName) <= 300)
	goroutines, cpu := of(oursName, figures[2].pick).median, of(oursName, figures[3].pick).median
	r.bar(fmt.Sprintf("%d idle connections: goroutines, CPU", n), "0 goroutines, no idle CPU", fmt.Sprintf("%.2g goroutines, %.2f %% of a core (Google's %.2g, %.2f %%)",
		goroutines, cpu, of(peerName, figures[2].pick).median, of(peerName, figures[3].pick).median), goroutines == 0 && cpu < 0.5)
	return nil
}

func idleSubject(ctx context.Context, r *run, t target, s subject, n int) (c idleCost, err error) {
	if err := dialOnce(ctx, s); err != nil { // what is there once is not counted
		return c, err
	}
	goroutines := settledGoroutines()
	live, resident := heap()
	conns, err := opened(ctx, s, n)
	if err != nil {
		closeConns(conns)
		return c, err
	}
	c.goroutines = float64(max(0, settledGoroutines()-goroutines)) / float64(n) // some of before may have ended
	liveNow, residentNow := heap()
	c.heap, c.resident = (liveNow-live)/float64(n), (residentNow-resident)/float64(n)
	c.cpu = idleCPU(time.Duration(r.pick(2, 5)) * time.Second)
	err = r.kit.cut(t.Instance)
	closeConns(conns)
	return c, err
}

// idleCPU is the share of a core that this process uses while nothing happens.
func idleCPU(during time.Duration) float64 {
	before := cpuTime()
	time.Sleep(during)
	return float64(cpuTime()-before) / float64(during)
}

// settledGoroutines waits for goroutines that are on their way out.
func settledGoroutines() int {
	n := runtime.NumGoroutine()
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		n = min(n, runtime.NumGoroutine())
	}
	return n
}
