package bench

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

// cost is what one operation has cost this process, on average over many.
type cost struct {
	wall, cpu     time.Duration
	allocs, bytes float64
}

// measure runs f, which does n operations, and returns the cost of one.
func measure(n int, f func() error) (cost, error) {
	var before, after runtime.MemStats
	runtime.GC() // of the others' garbage
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	err := f()
	wall, used := time.Since(start), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	return cost{
		wall:   wall / time.Duration(n),
		cpu:    used / time.Duration(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
	}, err
}

// cpuTime is what this process has used so far, in user and in kernel mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no reason to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// interleave measures the subjects in turn, so many rounds, each round in
// another order, and returns the costs by name. The machine's moods hit all of
// them alike.
func interleave[S interface{ Name() string }](rounds int, subjects []S, f func(S) (cost, error)) (map[string][]cost, error) {
	costs := map[string][]cost{}
	turns := newTurns(subjects)
	for round := range rounds + 1 {
		for _, s := range turns.next() {
			c, err := f(s)
			if err != nil {
				return nil, err
			}
			if round > 0 { // the first one warms up
				costs[s.Name()] = append(costs[s.Name()], c)
			}
		}
	}
	return costs, nil
}

// turns are the orders in which subjects take turns. They are drawn by lot: what the
// one before leaves behind, such as garbage, or a thread that looks for work and keeps
// a core awake, is felt by the next, and who that is must not stay the same.
type turns[S any] struct {
	order []S
	lots  *rand.Rand
}

func newTurns[S any](subjects []S) *turns[S] {
	return &turns[S]{slices.Clone(subjects), rand.New(rand.NewPCG(1, 2))}
}

// next returns another order, which is good until the next call.
func (t *turns[S]) next() []S {
	t.lots.Shuffle(len(t.order), func(i, j int) { t.order[i], t.order[j] = t.order[j], t.order[i] })
	return t.order
}

// spread is a median and the quartiles around it.
type spread struct{ median, low, high float64 }

func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 {
		if len(v) == 0 {
			return math.NaN()
		}
		x := q * float64(len(v)-1)
		i := int(x)
		if i+1 >= len(v) {
			return v[i]
		}
		return v[i] + (x-float64(i))*(v[i+1]-v[i])
	}
	return spread{at(0.5), at(0.25), at(0.75)}
}

// values picks one figure of each cost.
func values(costs []cost, pick func(cost) float64) []float64 {
	v := make([]float64, len(costs))
	for i, c := range costs {
		v[i] = pick(c)
	}
	return v
}

// ratio is the spread, over the rounds, of a figure of one subject divided by
// that of another in the same round.
func ratio(a, b []cost, pick func(cost) float64) spread { return spreadOf(ratios(a, b, pick)) }

func ratios(a, b []cost, pick func(cost) float64) []float64 {
	return quotients(values(a, pick), values(b, pick))
}

// differences are those of a figure of two subjects in the same round.
func differences(a, b []cost, pick func(cost) float64) []float64 {
	v := make([]float64, min(len(a), len(b)))
	for i := range v {
		v[i] = pick(a[i]) - pick(b[i])
	}
	return v
}

func quotients(a, b []float64) []float64 {
	v := make([]float64, min(len(a), len(b)))
	for i := range v {
		v[i] = a[i] / b[i]
	}
	return v
}

// confidence is the median of independent values and the interval where the true
// one is with a probability of about 95 %: the ranks that the binomial
// distribution, approximated by the normal one, leaves to the median.
func confidence(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	n := float64(len(v))
	half := 1.96 * math.Sqrt(n) / 2
	at := func(rank float64) float64 { return v[int(min(max(rank, 0), n-1))] }
	return spread{spreadOf(v).median, at(math.Floor(n/2 - half)), at(math.Ceil(n/2 + half - 1))}
}

// The figures of a cost; times in microseconds.
func wallOf(c cost) float64   { return float64(c.wall) / 1e3 }
func rateOf(c cost) float64   { return float64(time.Second) / float64(c.wall) }
func cpuOf(c cost) float64    { return float64(c.cpu) / 1e3 }
func allocsOf(c cost) float64 { return c.allocs }
func bytesOf(c cost) float64  { return c.bytes }

// greet reads the server's first byte: only then is the handshake over on both
// sides, and a session ticket here.
func greet(c io.Reader) error {
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// dialOnce connects, reads the first byte and closes.
func dialOnce(ctx context.Context, s subject) error {
	c, err := s.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return greet(c)
}

// opened returns n connections, made by a few goroutines at once.
func opened(ctx context.Context, s subject, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	err := atOnce(8, n, func(i int) error {
		c, err := s.Dial(ctx)
		if err != nil {
			return err
		}
		conns[i] = c
		return greet(c)
	})
	return conns, err
}

func closeConns(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			_ = c.Close()
		}
	}
}

// heap returns what is live, and the memory that the process has of the
// system, in bytes.
func heap() (live, resident float64) {
	runtime.GC()
	debug.FreeOSMemory() // collects again: the first one only empties pools half
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), residentBytes()
}
