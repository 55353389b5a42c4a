package mdx

import (
	"bufio"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Server is the proxy's side of the exchange: a connection from a client,
// without the request in front of its first byte. It writes no answer by
// itself.
type Server struct {
	net.Conn
	in      *bufio.Reader // used by Await, then by Read
	settled bool          // whether there was a request is known
	request atomic.Pointer[Request]
	told    func(Request)
}

// NewServer returns the server's side of the exchange on c. told, if not nil,
// is called when a request has come: by Await, or by Read if it comes late.
func NewServer(c net.Conn, told func(Request)) *Server {
	return &Server{Conn: c, in: bufio.NewReaderSize(c, headerSize+maxSize), told: told}
}

// Request returns what the client has told so far, or nil.
func (s *Server) Request() *Request { return s.request.Load() }

// Await waits for the client's first bytes, but no longer than d; the real
// server-side proxy seems to wait some 250 ms. It returns nil without an error
// if they are no request, or if the time is over: then Read looks for it. Await
// must come before all Reads, and leaves no read deadline behind.
func (s *Server) Await(d time.Duration) (*Request, error) {
	if d <= 0 {
		return nil, nil
	}
	if err := s.SetReadDeadline(time.Now().Add(d)); err != nil {
		return nil, err
	}
	err := s.look()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return s.Request(), errors.Join(err, s.SetReadDeadline(time.Time{}))
}

// Read reads what comes after the request.
func (s *Server) Read(b []byte) (int, error) {
	if !s.settled {
		if err := s.look(); err != nil {
			return 0, err
		}
	}
	return s.in.Read(b)
}

// look looks whether the client begins with a request, and takes it away.
func (s *Server) look() error {
	for !s.settled {
		_, peekErr := s.in.Peek(s.in.Buffered() + 1)
		held, _ := s.in.Peek(s.in.Buffered())
		body, _, err := cut(held)
		switch {
		case err == errMore && peekErr == nil:
		case err == errMore && errors.Is(peekErr, os.ErrDeadlineExceeded):
			return peekErr
		case err == errMore, err == errNone: // it has ended, and was no request
			s.settled = true
		case err != nil:
			return err
		default:
			return s.take(body)
		}
	}
	return nil
}

func (s *Server) take(body []byte) error {
	r, err := parseRequest(body)
	if err != nil {
		return err
	}
	s.settled = true
	_, _ = s.in.Discard(headerSize + len(body)) // it is there
	s.request.Store(&r)
	if s.told != nil {
		s.told(r)
	}
	return nil
}
