package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// session is a client of a server that sends back whatever it gets, and its end
// after that of the client.
type session struct {
	net.Conn
	random *rand.Rand
	unit   time.Duration // of its pauses

	sent, wanted *rand.ChaCha8 // the same bytes
}

func newSession(c net.Conn, random *rand.Rand, unit time.Duration) *session {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(random.Uint32())
	}
	return &session{c, random, unit, rand.NewChaCha8(seed), rand.NewChaCha8(seed)}
}

// kinds are what clients do. They return an error if they have not got what they
// have sent, all of it, or not the end.
var kinds = map[string]func(*session) error{
	"questions":   (*session).questions,
	"half-close":  (*session).halfClose,
	"slow reader": (*session).readSlowly,
	"hang-up":     (*session).hangUp,
	"reset":       (*session).reset,
}

// errWrong is what nothing excuses.
var errWrong = errors.New("what has come back is not what was sent")

// size is how much is sent at once: mostly little.
func (s *session) size() int {
	if s.random.IntN(4) == 0 {
		return 1 + s.random.IntN(200<<10)
	}
	return 1 + s.random.IntN(3000)
}

func (s *session) pause() { time.Sleep(time.Duration(s.random.Int64N(int64(s.unit)))) }

// send sends n bytes, and tells when that is over.
func (s *session) send(n int) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(writer{s.Conn}, s.sent, int64(n)) // ends with the connection
		done <- err
	}()
	return done
}

// writer hides ReadFrom, which would hand the random bytes over one by one.
type writer struct{ io.Writer }

// receive wants n bytes back, in pieces, with a pause after each.
func (s *session) receive(n, piece int, pause func()) error {
	got, want := make([]byte, piece), make([]byte, piece)
	for n > 0 {
		m, err := s.Read(got[:min(n, piece)])
		_, _ = s.wanted.Read(want[:m])
		if !bytes.Equal(got[:m], want[:m]) {
			return errWrong
		}
		if n -= m; err != nil && n > 0 {
			return fmt.Errorf("%d bytes are missing: %w", n, err)
		}
		pause()
	}
	return nil
}

// exchange sends n bytes and wants them back.
func (s *session) exchange(n, piece int, pause func()) error {
	sent := s.send(n)
	err := s.receive(n, piece, pause)
	if err != nil {
		_ = s.Close() // so that send ends
	}
	return errors.Join(err, <-sent)
}

func (s *session) questions() error {
	for range 1 + s.random.IntN(6) {
		if err := s.exchange(s.size(), 32<<10, func() {}); err != nil {
			return err
		}
		s.pause()
	}
	return nil
}

// halfClose ends its direction, and wants the end after all that comes back.
func (s *session) halfClose() error {
	n := s.size()
	sent := make(chan error, 1)
	go func() { // ends with the connection
		err := <-s.send(n)
		if err == nil {
			err = s.Conn.(interface{ CloseWrite() error }).CloseWrite()
		}
		sent <- err
	}()
	err := s.receive(n, 32<<10, func() {})
	if err == nil {
		var more int
		if more, err = s.Read(make([]byte, 1)); more > 0 {
			err = errWrong
		} else if err == io.EOF {
			err = nil
		}
	}
	if err != nil {
		_ = s.Close() // so that send ends
	}
	return errors.Join(err, <-sent)
}

func (s *session) readSlowly() error {
	return s.exchange(64<<10+s.random.IntN(512<<10), 16<<10, func() {
		if s.random.IntN(8) == 0 {
			s.pause()
		}
	})
}

// hangUp leaves in the middle.
func (s *session) hangUp() error {
	sent := s.send(s.size())
	s.pause()
	_ = s.Close()
	if err := <-sent; errors.Is(err, os.ErrDeadlineExceeded) { // of other errors it is the cause itself
		return err
	}
	return nil
}

// reset does so with a reset.
func (s *session) reset() error {
	sent := s.send(s.size())
	s.pause()
	switch c := s.Conn.(type) {
	case interface{ SetLinger(int) error }:
		_ = c.SetLinger(0)
	case interface{ Reset() }:
		c.Reset()
	}
	_ = s.Close()
	if err := <-sent; errors.Is(err, os.ErrDeadlineExceeded) { // of other errors it is the cause itself
		return err
	}
	return nil
}
