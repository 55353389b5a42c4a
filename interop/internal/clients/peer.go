package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"sync"
)

// Request is what a [Peer] is to do with a connector, which the first request
// with a name makes and the others find.
type Request struct {
	ID        int64  `json:"id"`        // set by Ask
	Connector string `json:"connector"` // its name
	Do        Action `json:"do"`
	Driver    string `json:"driver"` // of the database, or Bare

	// NoExpiry, if not empty, is a token for everything, which does not say when it
	// expires. Credentials and Account do not count then.
	NoExpiry string `json:"noExpiry"`
	// Resolver is the host:port of the DNS server that is to be asked; "": that of
	// the system.
	Resolver string `json:"resolver"`
	// Limit is how many seconds a connection may take; 0: any. Only asyncpg has it.
	Limit float64 `json:"limit"`
	// Conn names a connection that DoDial leaves open.
	Conn string `json:"conn"`
	// Bytes is how many are written.
	Bytes int `json:"bytes"`

	Target
}

// Bare is the Driver that has a connection answer without a database: it writes
// a byte and reads a line.
const Bare = "bare"

// Action is what a request asks for.
type Action string

// The actions. Java and Python know the first three.
const (
	DoConnect Action = "connect" // a new connection that answers; its answer is the result
	DoMake    Action = "make"    // the connector alone, if it is not there yet
	DoClose   Action = "close"   // the connector
	DoDial    Action = "dial"    // a new connection, bare, that stays open
	DoWrite   Action = "write"   // on it
	DoRead    Action = "read"    // a byte
	DoEnd     Action = "end"     // it
	DoSleep   Action = "sleep"   // a query of 6 s, on a new connection, whose driver gives it 1 s
)

// Peer is a program in another language that does what it is told. It answers
// each request, a line of JSON, with a line; not in their order. Its methods are
// safe for concurrent use.
type Peer struct {
	*program
	mu      sync.Mutex // guards the standard input and everything below
	waiting map[int64]chan<- answer
	last    int64 // request
}

// answer is the result of a request, or an error.
type answer struct {
	ID            int64
	Result, Error string
}

// startPeer starts a program that speaks so.
func startPeer(cmd *exec.Cmd) (*Peer, error) {
	p := &Peer{waiting: map[int64]chan<- answer{}}
	started := make(chan struct{})
	defer close(started)
	var err error
	if p.program, err = start(cmd, func(line string) {
		<-started
		p.take(line)
	}); err != nil {
		return nil, err
	}
	return p, nil
}

// take gives an answer to who waits for it.
func (p *Peer) take(line string) {
	var a answer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		fmt.Fprintf(&p.log, "not an answer: %s\n", line)
		return
	}
	p.mu.Lock()
	c := p.waiting[a.ID]
	delete(p.waiting, a.ID)
	p.mu.Unlock()
	if c != nil {
		c <- a
	}
}

// Ask sends a request and waits for its result. The program does not learn that
// ctx has ended.
func (p *Peer) Ask(ctx context.Context, r Request) (result string, err error) {
	answered := make(chan answer, 1)
	p.mu.Lock()
	p.last++
	r.ID = p.last
	p.waiting[r.ID] = answered
	line, err := json.Marshal(r)
	if err == nil {
		_, err = p.stdin.Write(append(line, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		p.forget(r)
		return "", fmt.Errorf("%w: %s", err, &p.log)
	}
	select {
	case a := <-answered:
		if a.Error != "" {
			return "", errors.New(a.Error)
		}
		return a.Result, nil
	case <-p.ended:
		return "", p.hasEnded()
	case <-ctx.Done():
		p.forget(r)
		return "", ctx.Err()
	}
}

// forget is for a request that nobody waits for any more.
func (p *Peer) forget(r Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, r.ID)
}

// Close ends the program.
func (p *Peer) Close() error {
	p.mu.Lock()
	_ = p.stdin.Close() // between two requests
	p.mu.Unlock()
	return p.close()
}

// session is a session of the peer for r, which says how to connect. With own,
// the peer ends with it.
func (p *Peer) session(r Request, own bool) *Session {
	ask := func(ctx context.Context, do Action) (string, error) {
		r := r
		r.Do = do
		return p.Ask(ctx, r)
	}
	return &Session{
		connect: func(ctx context.Context) (string, error) { return ask(ctx, DoConnect) },
		close: func() error {
			if own {
				return p.Close()
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, err := ask(ctx, DoClose)
			return err
		},
		log: p.log.String,
	}
}
