//go:build linux

package starved

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// What network answers instead of an address.
const refused = "refused"

// way is the client's way to the instances: it asks the network where an
// address leads at the moment, and waits where SYNs are swallowed.
type way struct{ network string }

// DialContext is a [cloudsqlconn.DialFunc].
func (w way) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", addr, err)}
	}
	to, err := w.ask(ctx, addr)
	switch {
	case ctx.Err() != nil:
		return fail(ctx.Err())
	case err != nil:
		return fail(err)
	case to == refused:
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	c, err := new(net.Dialer).DialContext(ctx, network, to)
	if err != nil {
		return nil, err
	}
	return slowWriter{c.(*net.TCPConn)}, nil
}

// ask asks the network until it answers: a SYN that is lost is repeated after 1 s,
// 3 s, 7 s and so on.
func (w way) ask(ctx context.Context, addr string) (string, error) {
	for pause := time.Second; ; pause *= 2 {
		once, cancel := context.WithTimeout(ctx, pause)
		to, err := w.askOnce(once, addr)
		lost := once.Err() != nil && ctx.Err() == nil
		cancel()
		if !lost {
			return to, err
		}
	}
}

func (w way) askOnce(ctx context.Context, addr string) (string, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", w.network)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if _, err := fmt.Fprintln(c, addr); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// slowWriter is a connection whose Write returns late now and then, as it does
// when the process does not get to run. pgx then reads in the background.
type slowWriter struct{ *net.TCPConn }

func (c slowWriter) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	if rand.IntN(20) == 0 {
		time.Sleep(time.Duration(25+rand.IntN(15)) * time.Millisecond)
	}
	return n, err
}
