package race_test

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/race"
)

// counted is a connection that counts how often it is closed.
type counted struct {
	net.Conn
	closed atomic.Int32
}

func (c *counted) Close() error {
	c.closed.Add(1)
	return nil
}

// Whatever hosts do, and whenever the caller goes: no connection is lost, none is
// closed that was taken, no goroutine stays, and there is an end.
func FuzzRace(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { randomRace(t, rand.New(rand.NewPCG(seed, 1))) })
	})
}

func randomRace(t *testing.T, random *rand.Rand) {
	moment := func() time.Duration { return time.Duration(random.IntN(13)) * stagger / 2 }
	answers := map[string]host{}
	deaf := map[string]bool{} // who does not look at the context
	prompt := random.IntN(2) == 0
	names := []string{"a", "b", "c", "d", "e"}[:1+random.IntN(5)]
	for _, name := range names {
		answer := host{after: moment()}
		if random.IntN(4) == 0 {
			answer.after = 20 * time.Second
		}
		if random.IntN(3) == 0 {
			answer.err = errRefused
		}
		answers[name], deaf[name] = answer, !prompt && random.IntN(4) == 0
	}
	var (
		mu    sync.Mutex // guards conns
		conns []*counted
	)
	open := func(ctx context.Context, name string) (net.Conn, error) {
		if deaf[name] {
			ctx = context.WithoutCancel(ctx)
		}
		select {
		case <-time.After(answers[name].after):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := answers[name].err; err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, new(counted))
		return conns[len(conns)-1], nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), stagger+time.Duration(random.IntN(100))*stagger/2)
	defer cancel()
	if random.IntN(2) == 0 {
		time.AfterFunc(moment(), cancel)
	}

	r := race.New(ctx, names, random.IntN(len(names)+1), open)
	r.Prompt = prompt
	var taken net.Conn
	for tries := 0; taken == nil; tries++ {
		try, more := r.Next()
		if !more {
			break
		}
		if tries > 2*len(names) {
			t.Fatal("there is no end")
		}
		if try.Err == nil {
			useful, pause := random.IntN(3) > 0, moment()
			taken = r.Use(try, func(_ context.Context, try race.Try) (net.Conn, error) {
				time.Sleep(pause)
				if useful {
					return try.Conn, nil
				}
				_ = try.Conn.Close()
				return nil, errRefused
			}).Conn
		}
	}
	r.Stop()
	time.Sleep(time.Minute)

	mu.Lock()
	defer mu.Unlock()
	for _, c := range conns {
		if isTaken := taken == net.Conn(c); isTaken == (c.closed.Load() > 0) {
			t.Errorf("a connection was taken: %v, and closed %d times", isTaken, c.closed.Load())
		}
	}
	if taken != nil && !slices.ContainsFunc(conns, func(c *counted) bool { return taken == net.Conn(c) }) {
		t.Error("what was taken is no connection of a host")
	}
}
