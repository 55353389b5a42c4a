// Soak opens, uses and closes connections for a long time while everything
// around them goes wrong, and fails if a Dial failed that need not have, or if
// anything leaked.
//
//	go run ./e2e/soak                 # ten minutes
//	go run ./e2e/soak -duration 60s
//	go run ./e2e/soak -starved        # the process is starved: see package starved
//	go run ./e2e/soak -port           # of the command's local port: see package port
//	go run ./e2e/soak -port -starved
//
// A fault hits a random instance, or the Admin API, every 200 ms: see
// faults.go. An instance that was hit is left alone for twice the time that a
// Dial may take: a Dial tries twice, and one that meets two changes of an
// instance, the second of them during its refresh, rightly fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

type settings struct {
	duration    time.Duration
	instances   int
	connections int
	workers     int
	faultEvery  time.Duration
	patience    time.Duration
}

func main() {
	ifChild()
	var s settings
	starve := flag.Bool("starved", false, "stop and continue the process all the time, with databases and all drivers; of the flags, only -duration counts then")
	local := flag.Bool("port", false, "the command's local port, whose process is killed, too; of the flags, only -duration and -starved count then")
	flag.DurationVar(&s.duration, "duration", 10*time.Minute, "how long to run")
	flag.IntVar(&s.instances, "instances", 50, "emulated instances")
	flag.IntVar(&s.connections, "connections", 2000, "connections open at once, at the most")
	flag.IntVar(&s.workers, "workers", 64, "goroutines that open, use and close them")
	flag.DurationVar(&s.faultEvery, "fault-every", 200*time.Millisecond, "time between faults")
	flag.DurationVar(&s.patience, "patience", 15*time.Second, "deadline of most Dials")
	flag.Parse()
	soak := run
	switch {
	case *local:
		soak = func(s settings) error { return runPort(s.duration, *starve) }
	case *starve:
		soak = func(s settings) error { return runStarved(s.duration) }
	}
	if err := soak(s); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	if _, err := admin.ProcessKey(); err != nil {
		return err
	}
	before := runtime.NumGoroutine()

	server := cloudsqltest.NewServer()
	chaos := newChaos(server, 2*s.patience)
	names := make([]string, s.instances)
	for i := range names {
		names[i] = fmt.Sprintf("my-project:europe-west1:db-%d", i)
		mode := cloudsqltest.LegacyCA
		if i%2 == 1 {
			mode = cloudsqltest.GoogleCAS
		}
		chaos.add(server.AddInstance(names[i], cloudsqltest.Instance{CAMode: mode, Handler: cloudsqltest.Echo}))
	}
	dialer, err := cloudsqlconn.NewDialer(context.Background(),
		append(server.Options(), cloudsqlconn.WithRefreshTimeout(5*time.Second))...)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.Background(), s.duration)
	defer cancel()
	t := &tally{}
	peaks := &peaks{}
	var wg sync.WaitGroup
	wg.Go(func() { chaos.run(ctx, s.faultEvery, peaks.sample) })
	for i := range s.workers {
		wg.Go(func() {
			w := &worker{dialer: dialer, names: names, tally: t, most: s.connections / s.workers, patience: s.patience, seed: uint64(i)}
			w.run(ctx)
		})
	}
	wg.Wait()

	left := int64(0)
	for _, st := range dialer.Instances() {
		left += st.OpenConnections
	}
	calls := len(server.Requests())
	if err := dialer.Close(); err != nil {
		return err
	}
	server.Close()

	fmt.Printf("time               %v\n", s.duration)
	t.print(os.Stdout)
	chaos.print(os.Stdout)
	fmt.Printf("Admin API calls    %d\n", calls)
	fmt.Printf("peak               %d goroutines (the emulator's included), %d MiB heap\n", peaks.goroutines.Load(), peaks.heap.Load()>>20)

	if n := t.failed(); n > 0 {
		return fmt.Errorf("%d Dials failed for another reason than their own context", n)
	}
	if left != 0 {
		return fmt.Errorf("%d connections are still counted as open", left)
	}
	return noGoroutines(before)
}

// peaks are the largest values seen.
type peaks struct{ goroutines, heap atomic.Int64 }

func (p *peaks) sample() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.goroutines.Store(max(p.goroutines.Load(), int64(runtime.NumGoroutine())))
	p.heap.Store(max(p.heap.Load(), int64(m.HeapAlloc)))
}

// noGoroutines waits for goroutines that are on their way out, and complains
// about those that stay.
func noGoroutines(before int) error {
	for range 100 {
		if runtime.NumGoroutine() <= before {
			fmt.Printf("left behind        no goroutine, no connection\n")
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	return fmt.Errorf("goroutines were left behind:\n%s", buf[:runtime.Stack(buf, true)])
}
