//go:build linux

package starved

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// childEnv says that this process is the client.
const childEnv = "CLOUDSQLCONN_SOAK_CHILD"

// IsChild reports whether this process is the client of a Run: it is to call
// Child.
func IsChild() bool { return os.Getenv(childEnv) != "" }

// Child is the client: the process under test. It reads orders, and writes
// news.
func Child(in io.Reader, out io.Writer) error {
	tell := json.NewEncoder(out)
	var o orders
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return err
	}
	_ = mysql.SetLogger(log.New(io.Discard, "", 0)) // it tells of each connection that was cut
	before := holdings()

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	h := &heart{}
	c := newCalls(h)
	var watchers sync.WaitGroup
	watchers.Go(func() { h.run(ctx) })
	watchers.Go(func() { c.watch(ctx) })

	l, err := newLoad(c, &o)
	if err != nil {
		return err
	}
	if err := l.warmUp(); err != nil {
		return err
	}
	c.mu.Lock()
	c.began = now()
	c.mu.Unlock()
	if err := tell.Encode(news{Ready: true}); err != nil {
		return err
	}
	alive := func() { _ = tell.Encode(news{}) } // a parent that has gone kills
	all := l.run(o.Duration, alive)
	if all {
		l.end(alive)
	}

	stop()
	watchers.Wait()
	var leaks []string
	if all {
		leaks = before.left()
	}
	c.mu.Lock() // calls that hang may yet return
	defer c.mu.Unlock()
	c.outcome.Leaks, c.outcome.Ran = leaks, h.all()
	return tell.Encode(news{Report: &c.outcome})
}

func newDialer(o *orders) (*cloudsqlconn.Dialer, error) {
	token := func(text string) oauth2.TokenSource {
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: text})
	}
	return cloudsqlconn.NewDialer(context.Background(),
		cloudsqlconn.WithAdminAPIEndpoint(o.API),
		cloudsqlconn.WithIAMAuthNTokenSources(token(o.Token), token(o.Login)),
		cloudsqlconn.WithDialFunc(way{o.Network}.DialContext))
}

// sample notes the largest heap and the most sockets.
func (c *calls) sample() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	n := sockets()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcome.Heap = max(c.outcome.Heap, m.HeapAlloc)
	c.outcome.Sockets = max(c.outcome.Sockets, n)
}

// held is what a process holds.
type held struct{ goroutines, sockets int }

func holdings() held { return held{runtime.NumGoroutine(), sockets()} }

// leavePatience is what goroutines and sockets get that are on their way out.
// pgx gives the server 15 s to end a connection.
const leavePatience = 20 * time.Second

// left waits for what is on its way out, and returns what stays.
func (h held) left() (leaks []string) {
	for deadline := now() + leavePatience; now() < deadline; time.Sleep(50 * time.Millisecond) {
		if after := holdings(); after.goroutines <= h.goroutines && after.sockets <= h.sockets {
			return nil
		}
	}
	after := holdings()
	if n := after.sockets - h.sockets; n > 0 {
		leaks = append(leaks, fmt.Sprintf("%d sockets", n))
	}
	if n := after.goroutines - h.goroutines; n > 0 {
		leaks = append(leaks, fmt.Sprintf("%d goroutines:\n%s", n, stacks()))
	}
	return leaks
}

// sockets counts those of this process.
func sockets() (n int) {
	const dir = "/proc/self/fd/"
	fds, _ := os.ReadDir(dir)
	for _, fd := range fds {
		if to, err := os.Readlink(dir + fd.Name()); err == nil && len(to) > 7 && to[:7] == "socket:" {
			n++
		}
	}
	return n
}
