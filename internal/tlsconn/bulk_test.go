//go:build unix

package tlsconn_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

const maxRecord = 16 << 10

// full returns records that are as large as can be, and what is in them.
func (f *forger) full(n int) (records [][]byte, text []byte) {
	for i := range n {
		part := bytes.Repeat([]byte{byte('a' + i)}, maxRecord)
		records, text = append(records, f.record(data, part)), append(text, part...)
	}
	return records, text
}

// waitFor waits until so much has come.
func waitFor(t testing.TB, c *net.TCPConn, n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	wantNil(t, err)
	b := make([]byte, n)
	wantNil(t, raw.Read(func(fd uintptr) bool {
		m, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK)
		return m == n || err != nil && err != syscall.EAGAIN
	}))
}

func TestALargeReadReturnsAllRecordsThatAreThere(t *testing.T) {
	t.Parallel()
	c, f, socket := pair(t)
	records, text := f.full(3)
	ticket := f.record(handshake, newSessionTicket) // which is no end
	last, more := f.full(1)
	all, text := bytes.Join(append(append(records, ticket), last...), nil), append(text, more...)
	f.send(all)
	waitFor(t, socket, len(all))
	b := make([]byte, len(text))
	if n, err := c.Read(b); n != len(b) || err != nil || !bytes.Equal(b, text) {
		t.Errorf("read %d bytes, %v; want %d", n, err, len(b))
	}
	wantNil(t, alive(t, c))
	f.send(f.record(data, []byte("hello")))
	wantRead(t, c, "hello")
}

// The rest of a record is not waited for.
func TestALargeReadDoesNotWaitForMore(t *testing.T) {
	t.Parallel()
	c, f, socket := pair(t)
	b := make([]byte, 4*maxRecord)
	for range 3 {
		records, text := f.full(2)
		last := f.record(data, []byte("hello"))
		f.send(records[0])
		waitFor(t, socket, len(records[0]))
		if n, err := c.Read(b); n != maxRecord || err != nil || !bytes.Equal(b[:n], text[:n]) {
			t.Fatalf("read %d bytes, %v; want one record", n, err)
		}
		f.send(records[1], last[:3])
		waitFor(t, socket, len(records[1])+3)
		if n, err := c.Read(b); n != maxRecord || err != nil || !bytes.Equal(b[:n], text[n:]) {
			t.Fatalf("read %d bytes, %v; want one record", n, err)
		}
		wantNil(t, alive(t, c))
		f.send(last[3:])
		wantRead(t, c, "hello")
		wantNil(t, alive(t, c))
	}
}

// What comes after the data of a large Read is for the next one, and a look tells
// it, too.
func TestTheEndAfterALargeRead(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(f *forger){
		"close_notify": func(f *forger) { f.send(f.record(alert, closeNotify)) },
		"alert":        func(f *forger) { f.send(f.record(alert, internalError)) },
		"FIN":          func(f *forger) { _ = f.raw.(*net.TCPConn).CloseWrite() },
		"garbage":      func(f *forger) { f.send([]byte("HTTP/1.1 400 Bad Request\r\n")) },
	} {
		for _, looks := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c, f, socket := pair(t)
				records, text := f.full(1)
				f.send(records...)
				end(f)
				waitFor(t, socket, len(records[0]))
				b := make([]byte, 4*maxRecord)
				if n, err := c.Read(b); n != len(text) || err != nil {
					t.Fatalf("read %d bytes, %v", n, err)
				}
				if looks {
					waitEnd(t, c)
				}
				for range 2 {
					n, err := c.Read(b)
					if eof := name == "close_notify" || name == "FIN"; n != 0 || err == nil || eof != (err == io.EOF) {
						t.Errorf("read %d bytes, %v", n, err)
					}
				}
			})
		}
	}
}

// waitEnd looks until the end is there.
func waitEnd(t testing.TB, c *tlsconn.Conn) {
	t.Helper()
	for alive(t, c) == nil {
		time.Sleep(time.Millisecond)
	}
	if err := alive(t, c); err == nil {
		t.Error("the second look tells no error")
	}
}

// A deadline that has passed before all records were read is nothing to the next
// Read.
func TestADeadlineAfterALargeReadIsOverWithIt(t *testing.T) {
	t.Parallel()
	c, f, _ := pair(t)
	b := make([]byte, 4*maxRecord)
	for range 200 {
		records, text := f.full(1)
		f.send(records...)
		wantNil(t, c.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(100))*time.Microsecond)))
		n, err := c.Read(b)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		wantNil(t, c.SetReadDeadline(time.Time{}))
		wantRead(t, c, string(text[n:]))
	}
}

// counting counts Writes.
type counting struct {
	net.Conn
	writes atomic.Int64
}

func (c *counting) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestALargeWriteIsFewCallsOfTheSystem(t *testing.T) {
	t.Parallel()
	var under *counting
	c, f, _ := pairOf(t, func(raw net.Conn, config *tls.Config) *tlsconn.Conn {
		under = &counting{Conn: raw}
		return tlsconn.Client(under, config)
	})
	for _, size := range []int{1, maxRecord, maxRecord + 1, 4 * maxRecord, 1 << 20} {
		sent := make([]byte, size)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		before := under.writes.Load()
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := c.Write(sent); n != size || err != nil {
				t.Errorf("wrote %d bytes, %v", n, err)
			}
		})
		got := make([]byte, size)
		_, err := io.ReadFull(f, got)
		wantNil(t, err)
		wg.Wait()
		if !bytes.Equal(got, sent) {
			t.Errorf("%d bytes came as others", size)
		}
		most := int64(max(1, size/(4*maxRecord)))
		if n := under.writes.Load() - before; n > most && size != maxRecord { // at first, records are small
			t.Errorf("%d bytes: %d calls, want %d at most", size, n, most)
		}
	}
}

// What a large Write has not got rid of by its deadline goes out before the
// next.
func TestALargeWriteGoesOnAfterItsDeadline(t *testing.T) {
	t.Parallel()
	c, f, _ := pair(t)
	var sent bytes.Buffer
	for late := 0; late < 3; {
		b := make([]byte, 256<<10)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		wantNil(t, c.SetWriteDeadline(time.Now().Add(time.Millisecond)))
		n, err := c.Write(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			late++
		case err != nil:
			t.Fatal(err)
		}
		sent.Write(b[:n])
	}
	wantNil(t, c.SetWriteDeadline(time.Time{}))
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := io.WriteString(c, "the end")
		wantNil(t, err)
	})
	sent.WriteString("the end")
	got := make([]byte, sent.Len())
	_, err := io.ReadFull(f, got)
	wantNil(t, err)
	wg.Wait()
	if !bytes.Equal(got, sent.Bytes()) {
		t.Error("the bytes that came are others")
	}
}
