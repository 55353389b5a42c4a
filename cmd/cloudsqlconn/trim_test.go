package main

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/memnet"
)

// Memory is given back once after a burst, when it has been quiet for a second,
// and never for a few connections.
func TestMemoryIsGivenBackAfterABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := memnet.Listen("here")
		var freed atomic.Int64
		l := trim(under, func() { freed.Add(1) })
		connect := func(n int, pause time.Duration) {
			for range n {
				c, err := under.DialContext(t.Context(), "tcp", "here")
				if err != nil {
					t.Fatal(err)
				}
				s, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				_, _ = c.Close(), s.Close()
				time.Sleep(pause)
			}
		}
		wantFreed := func(what string, want int64) {
			t.Helper()
			synctest.Wait()
			if n := freed.Load(); n != want {
				t.Errorf("%s: freed %d times, want %d", what, n, want)
			}
		}
		connect(99, 0)
		time.Sleep(time.Minute)
		wantFreed("99 connections", 0)
		connect(1, 0)
		wantFreed("100 connections", 0)
		time.Sleep(time.Second)
		wantFreed("a second later", 1)
		connect(1000, 900*time.Millisecond)
		wantFreed("1,000 connections, without a pause of a second", 1)
		time.Sleep(time.Hour)
		wantFreed("an hour later", 2)
		connect(100, 0)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		wantFreed("closed", 2)
	})
}
