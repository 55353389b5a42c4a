// Package traffic is what a local port has to bear for a long time: clients that
// come and go, and faults. It knows what the clients must get all the same. The
// server behind the port has to send back whatever it gets.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is something that goes wrong.
type Fault struct {
	Name string
	Do   func() error

	// Cuts says that it ends connections. Those of clients that were there before
	// it was over may be lost.
	Cuts bool
}

// Load is clients, and faults that hit them in turn, in an order of chance.
type Load struct {
	// Connect connects a client to the port.
	Connect func(context.Context) (net.Conn, error)

	Clients int           // at once
	Unit    time.Duration // a client is silent for no longer than that, and a fault comes after about five of it
	Faults  []Fault       // one at least

	// state is even while all is well: clients that come and go meanwhile lose
	// nothing.
	state atomic.Int64

	mu     sync.Mutex // guards everything below
	counts map[string]int
	errs   []error
}

// patience is how many units a client waits at the most for what is due.
const patience = 100

// Run runs the load until ctx ends and each fault has happened once, and its
// clients have left. Its error tells what was lost, or that something has not
// happened at all.
func (l *Load) Run(ctx context.Context) error {
	l.counts = map[string]int{}
	var wg sync.WaitGroup
	var over atomic.Bool
	for i := range l.Clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for !over.Load() {
				l.client(random)
				time.Sleep(time.Duration(random.Int64N(int64(l.Unit))))
			}
		})
	}
	l.strike(ctx)
	over.Store(true)
	wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for kind := range kinds {
		if l.counts[kind] == 0 {
			l.errs = append(l.errs, fmt.Errorf("no client has done this: %s", kind))
		}
	}
	for _, f := range l.Faults {
		if l.counts[f.Name] == 0 {
			l.errs = append(l.errs, fmt.Errorf("this has not happened: %s", f.Name))
		}
		if f.Cuts && l.counts[lost] == 0 {
			l.errs = append(l.errs, errors.New("no client has lost its connection by a fault"))
		}
	}
	const most = 10
	return errors.Join(l.errs[:min(len(l.errs), most)]...)
}

// lost is the name of the count of clients that a fault has hit.
const lost = "lost by a fault"

// client is one client.
func (l *Load) client(random *rand.Rand) {
	names := slices.Sorted(maps.Keys(kinds))
	kind := names[random.IntN(len(names))]
	before := l.state.Load()
	err := l.session(kind, random)
	switch {
	case err == nil:
		l.count(kind)
	case errors.Is(err, errWrong), errors.Is(err, os.ErrDeadlineExceeded):
		l.fail(fmt.Errorf("%s: %w", kind, err))
	case before%2 == 0 && l.state.Load() == before:
		l.fail(fmt.Errorf("%s: lost without a fault: %w", kind, err))
	default:
		l.count(lost)
	}
}

func (l *Load) session(kind string, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience*l.Unit)
	defer cancel()
	c, err := l.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience * l.Unit)); err != nil {
		return err
	}
	return kinds[kind](newSession(c, random, l.Unit))
}

// strike causes the faults.
func (l *Load) strike(ctx context.Context) {
	random := rand.New(rand.NewPCG(0, 2))
	for first := true; first || ctx.Err() == nil; first = false {
		for _, i := range random.Perm(len(l.Faults)) {
			time.Sleep(2*l.Unit + time.Duration(random.Int64N(int64(6*l.Unit))))
			if !first && ctx.Err() != nil {
				return
			}
			l.cause(l.Faults[i])
		}
	}
}

// cause causes a fault, and waits until a client is served again.
func (l *Load) cause(f Fault) {
	if f.Cuts {
		l.state.Add(1)
		defer l.state.Add(1)
	}
	if err := f.Do(); err != nil {
		l.fail(fmt.Errorf("%s: %w", f.Name, err))
		return
	}
	l.count(f.Name)
	random := rand.New(rand.NewPCG(0, 3))
	var err error
	for range patience {
		if err = l.session("half-close", random); err == nil {
			return
		}
		time.Sleep(l.Unit)
	}
	l.fail(fmt.Errorf("nobody is served after this: %s: %w", f.Name, err))
}

func (l *Load) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

// Count returns how often something has happened: a kind of client, or a fault.
func (l *Load) Count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[what]
}

// Print prints the counts.
func (l *Load) Print(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(l.counts)) {
		fmt.Fprintf(w, "%7d  %s\n", l.counts[what], what)
	}
}
