package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	peer "cloud.google.com/go/cloudsqlconn"
	"golang.org/x/oauth2"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/bench/internal/client"
)

// streamClient is a subject in a process of its own, whose connections are
// streams of SQL Data.
type streamClient struct {
	name string
	*process
}

// startStreamClient starts the subject of that name, with an open connection.
func (r *run) startStreamClient(name string) (*streamClient, error) {
	p, err := startProcess(roleSQLData)
	if err != nil {
		return nil, err
	}
	c := &streamClient{name, p}
	if err := c.call("Start", SQLDataConfig{name, r.kit.SQLData}, &struct{}{}); err != nil {
		_ = c.close()
		return nil, err
	}
	return c, nil
}

func (c *streamClient) Name() string { return c.name }

func (c *streamClient) call(method string, task, result any) error {
	if err := c.rpc.Call("SQLData."+method, task, result); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// spent returns what a task has cost.
func (c *streamClient) spent(method string, task any) (cost, error) {
	var r client.Result
	err := c.call(method, task, &r)
	return cost{r.Wall, r.CPU, r.Allocs, r.Bytes}, err
}

// SQLDataClient is the other end of streamClient, in the child: its methods are
// what the parent can call. It and what they take is exported for net/rpc alone.
type SQLDataClient struct {
	subject subject
	conn    net.Conn
	buf     []byte
	echoes  bool // what is sent on conn comes back
}

// SQLDataConfig says who connects, and where the service is.
type SQLDataConfig struct{ Subject, Addr string }

// SQLDataTransfer is so many MiB one way, in pieces of that many bytes: each is a
// Write of the client, or a message of the server.
type SQLDataTransfer struct {
	Up        bool
	MiB, Size int
}

// SQLDataIdle is what an idle connection costs.
type SQLDataIdle struct{ Memory, Goroutines float64 }

// streamInstance is the instance; the service serves any.
const streamInstance = "my-project:europe-west1:my-db"

func newStreamSubject(c SQLDataConfig) (subject, error) {
	token := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token", Expiry: time.Now().Add(time.Hour)})
	switch c.Subject {
	case oursName:
		d, err := cloudsqlconn.NewDialer(context.Background(), cloudsqlconn.WithTokenSource(token),
			cloudsqlconn.WithSQLDataEndpoint(c.Addr), cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataPrefer))
		return &ours{d, streamInstance}, err
	case peerName:
		d, err := peer.NewDialer(context.Background(), peer.WithTokenSource(token), peer.WithBuiltInMetrics(false),
			peer.WithSQLDataEndpoint(c.Addr), peer.WithDefaultDialOptions(peer.WithSQLData()))
		return &theirs{d, streamInstance}, err
	}
	return newBareStreams(c.Addr)
}

// Start makes the subject, and opens a connection.
func (s *SQLDataClient) Start(c SQLDataConfig, _ *struct{}) (err error) {
	if s.subject, err = newStreamSubject(c); err != nil {
		return err
	}
	s.conn, err = s.dial()
	return err
}

// dial connects, and has a small exchange.
func (s *SQLDataClient) dial() (net.Conn, error) {
	c, err := s.subject.Dial(context.Background())
	if err != nil {
		return nil, err
	}
	if err := greet(c); err != nil {
		return nil, err
	}
	return c, upload(c, make([]byte, 1), 0)
}

// Transfer transfers, and returns the cost of one MiB.
func (s *SQLDataClient) Transfer(t SQLDataTransfer, reply *client.Result) error {
	if len(s.buf) != t.Size {
		s.buf = make([]byte, t.Size)
	}
	do := download
	if t.Up {
		do = upload
	}
	return result(t.MiB, func() error { return do(s.conn, s.buf, t.MiB*mib) }, reply)
}

// PingPong sends messages of 100 bytes and gets them back, one at a time. The
// connection is of no other use then.
func (s *SQLDataClient) PingPong(n int, reply *client.Result) error {
	message := make([]byte, 100)
	if !s.echoes {
		s.echoes = true
		if _, err := s.conn.Write(command(cmdEcho, 0, len(message))); err != nil {
			return err
		}
	}
	return result(n, func() error {
		for range n {
			if _, err := s.conn.Write(message); err != nil {
				return err
			}
			if _, err := io.ReadFull(s.conn, message); err != nil {
				return err
			}
		}
		return nil
	}, reply)
}

func result(n int, f func() error, reply *client.Result) error {
	c, err := measure(n, f)
	*reply = client.Result{Wall: c.wall, CPU: c.cpu, Allocs: c.allocs, Bytes: c.bytes}
	return err
}

// Idle opens n connections.
func (s *SQLDataClient) Idle(n int, reply *SQLDataIdle) error {
	memory, goroutines := inUse(), settledGoroutines()
	conns := make([]net.Conn, n)
	if err := atOnce(8, n, func(i int) (err error) {
		conns[i], err = s.dial()
		return err
	}); err != nil {
		return err
	}
	reply.Goroutines = float64(settledGoroutines()-goroutines) / float64(n)
	reply.Memory = (inUse() - memory) / float64(n)
	runtime.KeepAlive(conns)
	return nil
}

// Unread opens a connection and writes so many MiB before its first Read. It
// returns by how much the memory has grown since the connection was open.
func (s *SQLDataClient) Unread(n int, reply *float64) error {
	c, err := s.subject.Dial(context.Background())
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 32<<10)
	before := inUse()
	if _, err := c.Write(command(cmdDiscard, n*mib, len(buf))); err != nil {
		return err
	}
	for range n * mib / len(buf) {
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
	*reply = inUse() - before
	return greet(c)
}

// inUse is the memory that this process has for its heap and its stacks, in
// bytes.
func inUse() float64 {
	for range 4 { // stacks shrink by half each time
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
