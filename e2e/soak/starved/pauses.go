//go:build linux

package starved

import (
	"context"
	"os"
	"syscall"
	"time"
)

// pattern is how a process is starved: stopped for so long of every period.
type pattern struct{ stopped, period time.Duration }

// patterns take turns.
var patterns = []pattern{
	{80 * time.Millisecond, 100 * time.Millisecond}, // a container at its CPU limit
	{25 * time.Millisecond, 500 * time.Millisecond}, // a garbage collection of another runtime, a snapshot
}

// turn is how long a pattern lasts.
const turn = 10 * time.Second

// pauser stops and continues a process, which it leaves running.
type pauser struct {
	process *os.Process
	pauses  int
	stopped time.Duration
}

func (p *pauser) run(ctx context.Context) {
	for began := now(); ctx.Err() == nil; {
		pattern := patterns[int((now()-began)/turn)%len(patterns)]
		stopped := now()
		if p.process.Signal(syscall.SIGSTOP) != nil {
			return // it has ended
		}
		time.Sleep(pattern.stopped)
		_ = p.process.Signal(syscall.SIGCONT)
		p.pauses++
		p.stopped += now() - stopped
		time.Sleep(pattern.period - pattern.stopped)
	}
}
