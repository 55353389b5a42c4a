package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// helper is a program in another language that connects for all tests. It
// answers each request, a line of JSON, with a line; not in their order.
type helper struct {
	command func() (*exec.Cmd, error)

	once sync.Once
	err  error // of the start

	cmd   *exec.Cmd
	log   tail          // the standard error
	ended chan struct{} // closed when nothing will be answered any more

	mu      sync.Mutex // guards everything below
	stdin   io.WriteCloser
	waiting map[int64]chan<- answer
	last    int64 // request
}

// request asks for a new connection, over a connector that is made at the first
// request and kept.
type request struct {
	ID          int64  `json:"id"`
	Connector   string `json:"connector"` // its name
	Close       bool   `json:"close"`     // the connector, and nothing else
	Driver      string `json:"driver"`
	Endpoint    string `json:"endpoint"`
	Credentials string `json:"credentials"` // name of a file
	Instance    string `json:"instance"`
	IAM         bool   `json:"iam"`
	Private     bool   `json:"isPrivate"`
	Lazy        bool   `json:"lazy"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Database    string `json:"database"`
}

// answer is the database's name for who has logged in, or an error.
type answer struct {
	ID          int64
	User, Error string
}

// client returns the start of clients that use one of the helper's drivers.
func (h *helper) client(driver string) func(*testing.T, *world) session {
	return func(t *testing.T, w *world) session {
		t.Helper()
		h.once.Do(func() { h.err = h.start() })
		wantInstalled(t, h.err)
		r := request{
			Connector:   t.Name(),
			Driver:      driver,
			Endpoint:    w.kit.URL(),
			Credentials: w.account,
			Instance:    instanceName,
			IAM:         w.iam,
			Private:     w.private,
			Lazy:        w.lazy,
			User:        w.user(),
			Password:    w.password(),
			Database:    database,
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			end := r
			end.Close = true
			if _, err := h.ask(ctx, end); err != nil {
				t.Errorf("closing the connector: %v", err)
			}
			if t.Failed() {
				t.Logf("%s wrote, for all tests: %s", h.cmd.Path, &h.log)
			}
		})
		return func(ctx context.Context) (string, error) { return h.ask(ctx, r) }
	}
}

func (h *helper) start() error {
	cmd, err := h.command()
	if err != nil {
		return err
	}
	h.cmd, h.ended, h.waiting = cmd, make(chan struct{}), map[int64]chan<- answer{}
	if h.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = &h.log
	setDeathSignal(cmd)
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { // until close
		defer close(h.ended)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			var a answer
			if err := json.Unmarshal(s.Bytes(), &a); err != nil {
				fmt.Fprintf(&h.log, "not an answer: %s\n", s.Text())
				continue
			}
			h.mu.Lock()
			c := h.waiting[a.ID]
			delete(h.waiting, a.ID)
			h.mu.Unlock()
			if c != nil {
				c <- a
			}
		}
		_ = cmd.Wait()
	}()
	return nil
}

// ask sends a request and waits for its answer.
func (h *helper) ask(ctx context.Context, r request) (user string, err error) {
	answered := make(chan answer, 1)
	h.mu.Lock()
	h.last++
	r.ID = h.last
	h.waiting[r.ID] = answered
	line, err := json.Marshal(r)
	if err == nil {
		_, err = h.stdin.Write(append(line, '\n'))
	}
	h.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, &h.log)
	}
	select {
	case a := <-answered:
		if a.Error != "" {
			return "", errors.New(a.Error)
		}
		return a.User, nil
	case <-h.ended:
		return "", fmt.Errorf("%s has ended: %s", h.cmd.Path, &h.log)
	case <-ctx.Done():
		h.mu.Lock()
		delete(h.waiting, r.ID)
		h.mu.Unlock()
		return "", ctx.Err()
	}
}

// close ends the program, if it was started.
func (h *helper) close() error {
	if h.ended == nil {
		return nil
	}
	h.mu.Lock()
	err := h.stdin.Close()
	h.mu.Unlock()
	select {
	case <-h.ended:
		return err
	case <-time.After(10 * time.Second):
		err = fmt.Errorf("%s does not end; it is killed", h.cmd.Path)
		_ = h.cmd.Process.Kill()
		<-h.ended
		return err
	}
}
