package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/sockets"
)

// Server is a DNS server, on a port of 127.0.0.1, over UDP and TCP. Answers that are
// too long for UDP come over TCP.
type Server struct {
	ask    func(ctx context.Context, name, questionType string) (Answer, bool)
	udp    net.PacketConn
	tcp    net.Listener
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // counts both loops, UDP questions and TCP connections

	mu     sync.Mutex        // guards everything below
	conns  map[net.Conn]bool // over TCP
	counts Counts
}

// Counts is what has happened at a [Server].
type Counts struct {
	Truncated int // answers that were too long for UDP
	TCP       int // questions over TCP
}

// maxUDP is how long an answer over UDP may be if the question does not say.
const maxUDP = 512

// NewServer starts a server on a free port. It passes questions to ask, from many
// goroutines at once, which reports false if there is no answer before ctx ends.
func NewServer(ask func(ctx context.Context, name, questionType string) (Answer, bool)) *Server {
	s := &Server{ask: ask, conns: map[net.Conn]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.udp, s.tcp = listen()
	s.wg.Go(s.serveUDP)
	s.wg.Go(func() {
		sockets.Accept(s.tcp, func(c net.Conn) { s.wg.Go(func() { s.serveConn(c) }) })
	})
	return s
}

// listen finds a port that is free for UDP and TCP.
func listen() (net.PacketConn, net.Listener) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic("cloudsqltest: " + err.Error())
		}
		c, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return c, l
		}
		_ = l.Close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			panic("cloudsqltest: " + err.Error())
		}
	}
}

// Addr returns the address, host:port.
func (s *Server) Addr() string { return s.tcp.Addr().String() }

// Counts returns what has happened so far.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// count adds one to n, a field of s.counts.
func (s *Server) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

// Close stops the server and returns when everything that it started has ended.
// Pending questions get no answer. It can be called again.
func (s *Server) Close() {
	s.cancel()
	_ = s.udp.Close()
	_ = s.tcp.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) serveUDP() {
	b := make([]byte, 64<<10)
	for {
		n, from, err := s.udp.ReadFrom(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // an answer of before reached nobody
			continue
		}
		msg := slices.Clone(b[:n])
		s.wg.Go(func() {
			if answer := s.answer(msg, false); answer != nil {
				_, _ = s.udp.WriteTo(answer, from)
			}
		})
	}
}

// serveConn answers questions one after the other, each behind its length.
func (s *Server) serveConn(c net.Conn) {
	defer c.Close()
	s.mu.Lock()
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	s.conns[c] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		msg := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, msg); err != nil {
			return
		}
		answer := s.answer(msg, true)
		if answer == nil {
			return
		}
		answer = append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// answer returns the answer to a message, or nil if there is none.
func (s *Server) answer(msg []byte, tcp bool) []byte {
	q, most, code := parseQuestion(msg)
	if q == nil {
		return nil
	}
	if tcp {
		most = 1<<16 - 1
		s.count(&s.counts.TCP)
	}
	if code != dnsmessage.RCodeSuccess {
		return q.reply(Answer{Code: code})
	}
	a, ok := s.ask(s.ctx, q.Name.String(), strings.TrimPrefix(q.Type.String(), "Type"))
	if !ok {
		return nil
	}
	reply := q.reply(a)
	if len(reply) > most {
		s.count(&s.counts.Truncated)
		q.header.Truncated = true
		return q.reply(Answer{Code: a.Code})
	}
	return reply
}
