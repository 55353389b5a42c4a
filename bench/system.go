package bench

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// raiseFileLimit allows as many open files as the system lets us.
func raiseFileLimit() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // what is missing shows when files are opened
	}
}

// fileLimit is how many files a process may have open.
func fileLimit() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(l.Cur, 1<<20))
}

// residentBytes is the RSS of this process; NaN where there is no /proc.
func residentBytes() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	var size, resident float64
	if _, scanErr := fmt.Sscan(string(text), &size, &resident); err != nil || scanErr != nil {
		return math.NaN()
	}
	return resident * float64(os.Getpagesize())
}

// machine describes where the figures come from.
func machine() string {
	cpu := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s/%s", cpu, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
}

// versions lists what was measured.
func versions() []string {
	list := []string{runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return list
	}
	for _, m := range info.Deps {
		switch m.Path {
		case "cloud.google.com/go/cloudsqlconn", "github.com/jackc/pgx/v5":
			list = append(list, m.Path+" "+m.Version)
		}
	}
	return list
}

// atOnce runs f for 0 to n-1 in so many goroutines, and returns the first
// error.
func atOnce(goroutines, n int, f func(i int) error) error {
	var (
		wg    sync.WaitGroup
		next  atomic.Int64
		first atomic.Pointer[error]
	)
	for range goroutines {
		wg.Go(func() {
			for first.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}
