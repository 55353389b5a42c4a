package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	google "cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"

	ours "github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

// streamClient is a client that uses SQL Data.
type streamClient interface {
	// Dial makes a new connection.
	Dial(ctx context.Context) (io.ReadWriteCloser, error)
	// Sleep logs in at a PostgreSQL and has it sleep for 6 s, with a limit of 1 s.
	// The error is that of the query.
	Sleep(ctx context.Context) (took time.Duration, err error)
	// Memory returns how much the client holds, and what is counted.
	Memory() (bytes int64, what string)
	Close() error
}

// goStreams is a Dialer of this process.
type goStreams struct {
	dial  func(ctx context.Context) (net.Conn, error)
	close func() error
}

func (c goStreams) Dial(ctx context.Context) (io.ReadWriteCloser, error) { return c.dial(ctx) }

func (c goStreams) Sleep(ctx context.Context) (time.Duration, error) {
	return sleepWithPgx(ctx, c.dial)
}

func (c goStreams) Memory() (int64, string) {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), "of heap"
}

func (c goStreams) Close() error { return c.close() }

func sleepWithPgx(ctx context.Context, dial func(context.Context) (net.Conn, error)) (time.Duration, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=localhost user=%s password=%s dbname=%s sslmode=disable", databaseUser, databasePassword, databaseName))
	if err != nil {
		return 0, err
	}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	began := time.Now()
	_, err = conn.Exec(ctx, "select pg_sleep(6)")
	return time.Since(began), err
}

func openOurStreams(ctx context.Context, w *streamWorld) (streamClient, error) {
	d, err := ours.NewDialer(ctx,
		ours.WithAdminAPIEndpoint(w.kit.URL()), ours.WithSQLDataEndpoint(w.endpoint), ours.WithTokenSource(w.tokens()),
		ours.WithDialFunc(w.kit.DialContext), ours.WithSQLData(ours.SQLDataPrefer))
	if err != nil {
		return nil, err
	}
	return goStreams{func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, oldInstance) }, d.Close}, nil
}

func openGoogleStreams(ctx context.Context, w *streamWorld) (streamClient, error) {
	d, err := google.NewDialer(ctx,
		google.WithAdminAPIEndpoint(w.kit.URL()), google.WithSQLDataEndpoint(w.endpoint), google.WithTokenSource(w.tokens()),
		google.WithDialFunc(w.kit.DialContext), google.WithDefaultDialOptions(google.WithSQLData()), google.WithBuiltInMetrics(false))
	if err != nil {
		return nil, err
	}
	return goStreams{func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, oldInstance) }, d.Close}, nil
}

func (w *streamWorld) tokens() oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: w.kit.Token(), Expiry: time.Now().Add(time.Hour)})
}

// proxyStreams is an Auth Proxy.
type proxyStreams struct{ *clients.AuthProxy }

func openProxyStreams(ctx context.Context, w *streamWorld) (streamClient, error) {
	p, err := clients.StartAuthProxy(ctx, w.target, "")
	return proxyStreams{p}, err
}

func (p proxyStreams) Dial(ctx context.Context) (io.ReadWriteCloser, error) {
	return p.AuthProxy.Dial(ctx)
}

func (p proxyStreams) Sleep(ctx context.Context) (time.Duration, error) {
	return sleepWithPgx(ctx, p.AuthProxy.Dial)
}

func (p proxyStreams) Memory() (int64, string) { return resident(p.PID()) }

// nodeStreams is a program of Node.js.
type nodeStreams struct {
	peer    *clients.Peer
	request clients.Request
	conns   atomic.Int64 // that were dialled
}

func openNodeStreams(ctx context.Context, w *streamWorld) (streamClient, error) {
	peer, err := clients.StartNode(w.target.SQLDataCA)
	if err != nil {
		return nil, err
	}
	c := &nodeStreams{peer: peer, request: clients.Request{Driver: "pg", Target: w.target}}
	_, err = c.ask(ctx, clients.DoMake, "", 0)
	return c, err
}

func (c *nodeStreams) ask(ctx context.Context, do clients.Action, conn string, bytes int) (string, error) {
	r := c.request
	r.Do, r.Conn, r.Bytes = do, conn, bytes
	return c.peer.Ask(ctx, r)
}

func (c *nodeStreams) Dial(ctx context.Context) (io.ReadWriteCloser, error) {
	conn := &nodeConn{c, strconv.FormatInt(c.conns.Add(1), 10)}
	_, err := c.ask(ctx, clients.DoDial, conn.name, 0)
	return conn, err
}

// Sleep has pg's own limit for a query.
func (c *nodeStreams) Sleep(ctx context.Context) (time.Duration, error) {
	took, err := c.ask(ctx, clients.DoSleep, "", 0)
	if err != nil {
		return 0, err
	}
	return parseSleep(took)
}

func (c *nodeStreams) Memory() (int64, string) { return resident(c.peer.PID()) }

func (c *nodeStreams) Close() error { return c.peer.Close() }

// nodeConn is a connection of the program. What is written and read counts, not
// which bytes.
type nodeConn struct {
	client *nodeStreams
	name   string
}

func (c *nodeConn) Write(b []byte) (int, error) {
	_, err := c.client.ask(context.Background(), clients.DoWrite, c.name, len(b))
	return len(b), err
}

func (c *nodeConn) Read(b []byte) (int, error) {
	text, err := c.client.ask(context.Background(), clients.DoRead, c.name, 0)
	return copy(b, text), err
}

func (c *nodeConn) Close() error {
	_, err := c.client.ask(context.Background(), clients.DoEnd, c.name, 0)
	return err
}

// residentLine is the line of /proc/PID/status that has the resident memory.
var residentLine = regexp.MustCompile(`VmRSS:\s*(\d+) kB`)

// resident returns how much memory a process has, all in all.
func resident(pid int) (bytes int64, what string) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		panic(arrangement + err.Error())
	}
	m := residentLine.FindSubmatch(text)
	if m == nil {
		panic(arrangement + "no memory in /proc")
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		panic(arrangement + err.Error())
	}
	return kib << 10, "resident"
}

// sleepResult is what a peer answers: how long it took, and the query's error.
var sleepResult = regexp.MustCompile(`(?s)^([0-9.]+) ?(.*)$`)

func parseSleep(text string) (time.Duration, error) {
	m := sleepResult.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("not a result of sleep: %q", text)
	}
	seconds, err := strconv.ParseFloat(m[1], 64)
	if err == nil && m[2] != "" {
		err = errors.New(m[2])
	}
	return time.Duration(seconds * float64(time.Second)), err
}
