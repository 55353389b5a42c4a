package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// streamScenario is something that goes wrong with streams of SQL Data.
type streamScenario struct {
	name, what string
	instance   cloudsqltest.Instance
	unserved   bool // SQL Data does not serve the instance
	database   bool // the instance is a PostgreSQL
	idle       bool // has subjects wait for most of the time
	maxStreams int
	run        func(*streamWorld) string
	ours       string // a pattern that our result matches
}

// drain reads to the end.
func drain(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

var streamScenarios = []streamScenario{
	{
		name:     "write, then close",
		what:     "200 times: Dial, Write of 8 KiB, Close. What arrives is counted a second after the last.",
		instance: cloudsqltest.Instance{Handler: drain},
		run:      writeThenClose,
		ours:     "^200 of 200",
	},
	{
		name:     "a query of 6 s with a context of 1 s",
		what:     "`pg_sleep(6)` on a PostgreSQL, with pgx, which sets a deadline when the query's context ends; in Node with pg and its `query_timeout`. When the program is told.",
		database: true,
		idle:     true,
		run:      sleepTooLong,
		ours:     `^after [1-5]\.\d s: .*deadline exceeded`,
	},
	{
		name:       "150 connections, 100 streams on one HTTP/2 connection",
		what:       "All are kept open. A Dial, and the answer to its first byte, have 5 s.",
		maxStreams: 100,
		run:        manyConnections,
		ours:       "^150 work$",
	},
	{
		name: "20 connections refused at once",
		what: "RESOURCE_EXHAUSTED for the first 20, which begin at the same time; the next ones would be good. How long it takes until a connection works, with Dials of 60 s.",
		idle: true,
		run:  refusedAtOnce,
		ours: "^works after",
	},
	{
		name: "a network that goes silent",
		what: "Both directions of the TCP connection swallow everything. How soon a Read that waits is told, within 75 s.",
		idle: true,
		run:  silentNetwork,
		ours: "keepalive ping failed",
	},
	{
		name:     "not served, and the Dial's context has ended",
		what:     "The service refuses the instance, which has an address; the context of the Dial is cancelled when Dial has returned. Then a byte is written, and read.",
		unserved: true,
		run:      fallBackLate,
		ours:     "^works",
	},
	{
		name:     "64 MiB written before the first read",
		what:     "How much more the process holds a second after it than before, the connection still open: in Go the heap after a collection; with the Auth Proxy and Node the resident memory.",
		instance: cloudsqltest.Instance{Handler: drain},
		run:      writeALot,
		ours:     `^[01]\.\d MiB`,
	},
	{
		name: "a stream that breaks",
		what: "The service ends it with ABORTED and a text. What a Write says then, the second one at the latest.",
		run:  writeToBroken,
		ours: "^`cloudsqlconn: stream my-project:europe-west1:my-db: Aborted: the instance was lost",
	},
}

func writeThenClose(w *streamWorld) string {
	for range 200 {
		c, err := w.dial(dialLimit)
		if err != nil {
			return err.Error()
		}
		if _, err := c.Write(make([]byte, 8<<10)); err != nil {
			return err.Error()
		}
		_ = c.Close()
	}
	time.Sleep(time.Second)
	whole := 0
	for _, s := range w.service.Streams() {
		if s.Received == 8<<10 {
			whole++
		}
	}
	return fmt.Sprintf("%d of 200 arrive", whole)
}

func sleepTooLong(w *streamWorld) string {
	took, err := w.client.Sleep(context.Background())
	if err == nil {
		return fmt.Sprintf("an answer after %.1f s, no error", took.Seconds())
	}
	return fmt.Sprintf("after %.1f s: `%v`", took.Seconds(), err)
}

// works reports whether the instance echoes a byte in time.
func works(c io.ReadWriteCloser, limit time.Duration) error {
	echoed := make(chan error, 1)
	go func() { // may never end; the process will
		_, err := c.Write([]byte("x"))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		echoed <- err
	}()
	select {
	case err := <-echoed:
		return err
	case <-time.After(limit):
		return fmt.Errorf("no answer within %s", inWords(limit))
	}
}

func manyConnections(w *streamWorld) string {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards why and open
		why  error
		open []io.Closer
	)
	for range 150 {
		wg.Go(func() {
			c, err := w.dial(dialLimit / 2)
			if err == nil {
				err = works(c, dialLimit/2)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				why = cmp.Or(why, err)
				return
			}
			open = append(open, c)
		})
	}
	wg.Wait()
	for _, c := range open {
		_ = c.Close()
	}
	if why != nil {
		return fmt.Sprintf("%d work; `%v`", len(open), why)
	}
	return fmt.Sprintf("%d work", len(open))
}

func refusedAtOnce(w *streamWorld) string {
	w.emulated.SetStreamFault(&cloudsqltest.StreamFault{Status: cloudsqltest.StreamStatus(codes.ResourceExhausted, "busy", "", 0)})
	began := time.Now()
	return within(100*time.Second, func() string {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { // the refusal comes with the Dial, or the first Read
				if c, err := w.dial(time.Second); err == nil {
					_ = works(c, time.Second)
					_ = c.Close()
				}
			})
		}
		wg.Wait()
		w.emulated.SetStreamFault(nil)
		for failed := 0; ; failed++ {
			c, err := w.dial(time.Minute)
			if err == nil {
				err = works(c, time.Minute)
				_ = c.Close()
			}
			if err == nil {
				return fmt.Sprintf("works after %.0f s, %d Dials failed", time.Since(began).Seconds(), failed)
			}
			time.Sleep(pause)
		}
	})
}

func silentNetwork(w *streamWorld) string {
	c, err := w.dial(dialLimit)
	if err == nil {
		err = works(c, dialLimit)
	}
	if err != nil {
		return err.Error()
	}
	w.service.BlackHole()
	began := time.Now()
	return within(75*time.Second, func() string {
		_, err := c.Read(make([]byte, 1))
		return fmt.Sprintf("after %.0f s: `%v`", time.Since(began).Seconds(), err)
	})
}

func fallBackLate(w *streamWorld) string {
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	c, err := w.client.Dial(ctx)
	cancel()
	if err == nil {
		err = works(c, dialLimit)
	}
	if err != nil {
		return fmt.Sprintf("`%v`", err)
	}
	return "works, by the address"
}

func writeALot(w *streamWorld) string {
	c, err := w.dial(dialLimit)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_, _ = c.Write(make([]byte, 1<<10))
	before, _ := w.client.Memory()
	block := make([]byte, 64<<10)
	for range 1024 {
		if _, err := c.Write(block); err != nil {
			return err.Error()
		}
	}
	time.Sleep(time.Second)
	after, what := w.client.Memory()
	return fmt.Sprintf("%.1f MiB %s", float64(max(0, after-before))/(1<<20), what)
}

func writeToBroken(w *streamWorld) string {
	c, err := w.dial(dialLimit)
	if err == nil {
		err = works(c, dialLimit)
	}
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	w.emulated.EndStreams(cloudsqltest.StreamStatus(codes.Aborted, "the instance was lost", "DISCONNECTED", 0))
	for range 10 {
		time.Sleep(pause)
		if _, err := c.Write([]byte("x")); err != nil {
			return fmt.Sprintf("`%v`", err)
		}
	}
	return "no error"
}
