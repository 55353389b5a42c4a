package mdx_test

import (
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
)

const patience = 250 * time.Millisecond

func TestServerTakesTheRequestAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t)
		var told []mdx.Request
		server := mdx.NewServer(s, func(r mdx.Request) { told = append(told, r) })
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(patience / 2)
			send(t, c, "hello")
		})
		r, err := server.Await(patience)
		if err != nil || r == nil || *r != theRequest || len(told) != 1 || told[0] != theRequest {
			t.Fatalf("got %v, %v, told %v", r, err, told)
		}
		wg.Wait()
		time.Sleep(time.Minute) // no deadline is left
		want(t, server, "hello")
	})
}

func TestServerFindsALateRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t)
		server := mdx.NewServer(s, nil)
		start := time.Now()
		if r, err := server.Await(patience); r != nil || err != nil || time.Since(start) != patience {
			t.Fatalf("got %v, %v after %v", r, err, time.Since(start))
		}
		send(t, server, "greeting")
		want(t, c, "greeting")
		send(t, c, "login")
		want(t, server, "login")
		if r := server.Request(); r == nil || *r != theRequest {
			t.Errorf("request %v", r)
		}
	})
}

func TestServerDoesNotWaitForClientsWithoutARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, hello := range []string{"hello", "CSQL", "CSQLMDEX\x00\x00"} {
			c, s := pair(t)
			send(t, c.Conn, hello)
			wantNil(t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
			server := mdx.NewServer(s, nil)
			start := time.Now()
			if r, err := server.Await(patience); r != nil || err != nil || time.Since(start) != 0 {
				t.Errorf("%q: got %v, %v after %v", hello, r, err, time.Since(start))
			}
			if b, err := io.ReadAll(server); string(b) != hello || err != nil {
				t.Errorf("read %q, %v; want %q", b, err, hello)
			}
		}
	})
}

func TestServerRefusesBadRequests(t *testing.T) {
	t.Parallel()
	for _, hello := range []string{"CSQLMDEX\x00\x00\x40\x01", "CSQLMDEX\x00\x00\x00\x01\xff"} {
		c, s := pair(t)
		send(t, c.Conn, hello)
		if r, err := mdx.NewServer(s, nil).Await(time.Hour); r != nil || err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%q: got %v, %v", hello, r, err)
		}
	}
}
