package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// worker opens, uses and closes connections.
type worker struct {
	dialer   *cloudsqlconn.Dialer
	names    []string
	tally    *tally
	most     int // connections at once
	patience time.Duration
	seed     uint64
}

func (w *worker) run(ctx context.Context) {
	random := mathrand.New(mathrand.NewPCG(w.seed, 1))
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for ctx.Err() == nil {
		i := random.IntN(w.most)
		if i >= len(open) {
			if c := w.dial(random); c != nil {
				open = append(open, c)
			}
			continue
		}
		if err := use(open[i], random); err != nil || random.IntN(8) == 0 {
			w.tally.add("use", useClass(err))
			_ = open[i].Close()
			open = slices.Delete(open, i, i+1)
		}
	}
}

// dial connects to a random instance. One in twenty callers is in a hurry.
func (w *worker) dial(random *mathrand.Rand) net.Conn {
	patience := w.patience
	if random.IntN(20) == 0 {
		patience = time.Duration(1+random.IntN(20)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := w.dialer.Dial(ctx, w.names[random.IntN(len(w.names))])
	switch {
	case err == nil:
		w.tally.add("dial", "good")
		return c
	case patience != w.patience:
		w.tally.add("dial", "own context: in a hurry")
	case ctx.Err() != nil, endsBeforeRetry(ctx, err):
		w.tally.late(err, w.patience)
	default:
		w.tally.fail(err)
	}
	return nil
}

// endsBeforeRetry reports whether err is a refused quota that ctx does not
// outlast: that is told at once.
func endsBeforeRetry(ctx context.Context, err error) bool {
	e, ok := errors.AsType[*cloudsqlconn.Error](err)
	deadline, _ := ctx.Deadline()
	return ok && e.Code() == "quota" && time.Until(deadline) <= retryAfter
}

// use sends something and wants it back.
func use(c net.Conn, random *mathrand.Rand) error {
	sent := make([]byte, 1+random.IntN(4<<10))
	_, _ = rand.Read(sent)
	if _, err := c.Write(sent); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return errors.New("the echo is another one")
	}
	return nil
}

func useClass(err error) string {
	switch {
	case err == nil:
		return "good"
	case errors.Is(err, driver.ErrBadConn):
		return "client certificate refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "cut"
	}
	return "other: " + err.Error()
}

// tally counts what happened.
type tally struct {
	mu     sync.Mutex // guards everything below
	counts map[string]int
	errs   []error // of Dials that need not have failed
	lates  []error // of Dials whose time was up
}

func (t *tally) add(what, class string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[what+" "+class]++
}

func (t *tally) fail(err error) {
	t.add("dial", "FAILED")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, fmt.Errorf("%v: %w", time.Now().Format(time.StampMilli), err))
}

func (t *tally) late(err error, patience time.Duration) {
	t.add("dial", "own context: "+patience.String())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lates = append(t.lates, fmt.Errorf("%v: %w", time.Now().Format(time.StampMilli), err))
}

func (t *tally) failed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.errs)
}

func (t *tally) print(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	printCounts(w, t.counts)
	for _, errs := range [][]error{t.errs, t.lates} {
		for _, err := range errs[:min(len(errs), 10)] {
			fmt.Fprintln(w, err)
		}
	}
}
