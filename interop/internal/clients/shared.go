package clients

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// patience is for a program to do what does not depend on the instance.
const patience = 90 * time.Second

// sharedPeer is a peer that serves all sessions of its kind. It is started when
// the first one begins.
type sharedPeer struct {
	command func() (*exec.Cmd, error)

	once sync.Once
	peer *Peer
	err  error // of the start
}

// shared are all of them: one for Java, and one for each driver of Python, which
// runs one thread at a time.
var shared = map[string]*sharedPeer{
	"java":    {command: javaCommand},
	"pg8000":  {command: pythonCommand},
	"psycopg": {command: pythonCommand},
	"asyncpg": {command: pythonCommand},
	"pymysql": {command: pythonCommand},
	"pytds":   {command: pythonCommand},
}

// connectors counts the sessions of shared peers, to give each a name.
var connectors atomic.Int64

// open begins a session.
func (s *sharedPeer) open(driver string, target Target) (*Session, error) {
	s.once.Do(func() {
		cmd, err := s.command()
		if err == nil {
			s.peer, err = startPeer(cmd)
		}
		s.err = err
	})
	if s.err != nil {
		return nil, s.err
	}
	name := fmt.Sprintf("connector-%d", connectors.Add(1))
	return s.peer.session(Request{Connector: name, Driver: driver, Target: target}, false), nil
}

func (s *sharedPeer) close() error {
	if s.peer == nil {
		return nil
	}
	return s.peer.Close()
}

// Java returns how the client for Java is opened with one of its drivers:
// jdbc-postgres, jdbc-mysql, jdbc-sqlserver, r2dbc-postgres.
func Java(driver string) Open {
	return func(_ context.Context, target Target) (*Session, error) { return shared["java"].open(driver, target) }
}
