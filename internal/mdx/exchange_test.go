package mdx_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
)

func TestRequestGoesOutWithTheFirstWrite(t *testing.T) {
	t.Parallel()
	c, s := pair(t)
	if n, err := c.Write(nil); n != 0 || err != nil {
		t.Fatalf("empty Write: %d, %v", n, err)
	}
	send(t, c, "hello")
	send(t, c, "again")
	want(t, s, onTheWire+"helloagain")
	if w := []string{"", onTheWire + "hello", "again"}; !slices.Equal(c.writes, w) {
		t.Errorf("writes %q, want %q", c.writes, w)
	}
}

func TestALargeFirstWriteArrivesWhole(t *testing.T) {
	t.Parallel()
	c, s := pair(t)
	large := strings.Repeat("0123456789abcdef", 10<<10)
	var wg sync.WaitGroup
	wg.Go(func() { send(t, c, large) })
	want(t, s, onTheWire+large)
	wg.Wait()
	if n := len(c.writes[0]); n > 16<<10 {
		t.Errorf("the first Write has %d bytes, more than a TLS record", n)
	}
}

func TestAnswersAreTakenAway(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]string{
		"none":               "",
		"OK":                 answer(mdx.Response{Status: mdx.OK}),
		"OK with a message":  answer(mdx.Response{Status: mdx.OK, Message: "hello"}),
		"empty":              "CSQLMDEX\x00\x00\x00\x00",
		"no status":          answer(mdx.Response{Message: "hello"}),
		"unknown status":     answer(mdx.Response{Status: 99}),
		"unknown fields":     "CSQLMDEX\x00\x00\x00\x06\x08\x01\x1a\x02hi",
		"16 KiB":             longest(),
		"a longer status":    "CSQLMDEX\x00\x00\x00\x06\x08\x81\x80\x80\x80\x20",
		"status of any kind": "CSQLMDEX\x00\x00\x00\x03\x0a\x01x",
	} {
		for by, reader := range map[string]func(io.Reader) io.Reader{
			"at once":       func(r io.Reader) io.Reader { return r },
			"byte for byte": iotest.OneByteReader,
			"by halves":     iotest.HalfReader,
		} {
			t.Run(name+"/"+by, func(t *testing.T) {
				t.Parallel()
				c, s := pair(t)
				send(t, c, "hello")
				go send(t, s, a+"CSQL world")
				r := reader(c.Conn)
				want(t, readFunc(func(b []byte) (int, error) { return c.exchange.Read(r, b) }), "CSQL world")
			})
			t.Run(name+"/into small buffers/"+by, func(t *testing.T) {
				t.Parallel()
				c, s := pair(t)
				send(t, c, "hello")
				go send(t, s, a+"CSQL world")
				r := reader(c.Conn)
				want(t, iotest.OneByteReader(readFunc(func(b []byte) (int, error) { return c.exchange.Read(r, b) })), "CSQL world")
			})
		}
	}
}

func longest() string {
	b := mdx.Response{Status: mdx.OK, Message: strings.Repeat("x", 16<<10-5)}.Append(nil)
	if len(b) != 12+16<<10 {
		panic(len(b))
	}
	return string(b)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func TestRefusalIsAnErrorWithTheServersMessage(t *testing.T) {
	t.Parallel()
	for sent, shown := range map[string]string{
		"":                        "the server refuses the metadata exchange, without a reason",
		"no such protocol":        "the server refuses the metadata exchange: no such protocol",
		"two\r\nlines\x00\x1b[2J": "the server refuses the metadata exchange: two lines [2J",
		"\xff\xfe bad":            "the server refuses the metadata exchange: bad",
		strings.Repeat("ä", 3000): "the server refuses the metadata exchange: " + strings.Repeat("ä", 200) + "...",
	} {
		c, s := pair(t)
		send(t, c, "hello")
		send(t, s, answer(mdx.Response{Status: mdx.Refused, Message: sent})+"data")
		for range 2 {
			n, err := c.Read(make([]byte, 100))
			if _, ok := errors.AsType[*mdx.Error](err); n != 0 || !ok || err.Error() != shown {
				t.Errorf("%.40q: Read returned %d, %q; want %q", sent, n, err, shown)
			}
			n, err = c.Write([]byte("more"))
			if _, ok := errors.AsType[*mdx.Error](err); n != 0 || !ok {
				t.Errorf("%.40q: Write returned %d, %v; want the same error", sent, n, err)
			}
		}
	}
}

func TestMalformedAnswersAreErrors(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]string{
		"too long":            "CSQLMDEX\x00\x00\x40\x01",
		"far too long":        "CSQLMDEX\xff\xff\xff\xff",
		"no protobuf":         "CSQLMDEX\x00\x00\x00\x02\xff\xff",
		"text beyond the end": "CSQLMDEX\x00\x00\x00\x02\x12\x7f",
		"ends in the header":  "CSQLMDEX\x00",
		"ends in the body":    "CSQLMDEX\x00\x00\x00\x02\x08",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s := pair(t)
			send(t, c, "hello")
			send(t, s, a)
			wantNil(t, s.CloseWrite())
			for range 2 {
				if n, err := c.Read(make([]byte, 100)); n != 0 || err == nil || !strings.Contains(err.Error(), "malformed metadata exchange message") {
					t.Errorf("Read returned %d, %v", n, err)
				}
			}
			if n, err := c.Write([]byte("more")); n != 0 || err == nil {
				t.Errorf("Write returned %d, %v", n, err)
			}
		})
	}
}

func TestAnEndInsideTheSignatureIsData(t *testing.T) {
	t.Parallel()
	c, s := pair(t)
	send(t, c, "hello")
	send(t, s, "CSQLMDE")
	wantNil(t, s.CloseWrite())
	if b, err := io.ReadAll(c); err != nil || string(b) != "CSQLMDE" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestAServerThatTalksFirstDoesNotAnswer(t *testing.T) {
	t.Parallel()
	a := answer(mdx.Response{Status: mdx.OK})
	for _, greeting := range []string{"J\x00\x00\x00\x0a8.4.0", "C", a} {
		c, s := pair(t)
		send(t, s, greeting)
		want(t, c, greeting)
		send(t, c, "login")
		want(t, s, onTheWire+"login")
		send(t, s, a) // so this is data
		want(t, c, a)
	}
}

// A deadline that passes at any byte loses nothing, and does not send the
// request again.
func TestNoByteIsLostOnADeadline(t *testing.T) {
	t.Parallel()
	stream := answer(mdx.Response{Status: mdx.OK, Message: "welcome"}) + "data"
	for _, ends := range []string{stream, "CSQLMDE data"} {
		synctest.Test(t, func(t *testing.T) {
			c, s := pair(t)
			timeouts := 0
			read := func(b []byte) (int, error) {
				for {
					wantNil(t, c.SetReadDeadline(time.Now().Add(time.Second)))
					n, err := c.Read(b)
					if !errors.Is(err, os.ErrDeadlineExceeded) {
						return n, err
					}
					if timeouts++; n != 0 {
						t.Fatalf("%d bytes and %v", n, err)
					}
				}
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				time.Sleep(1500 * time.Millisecond)
				send(t, c, "hello")
				for i := range len(ends) {
					time.Sleep(1500 * time.Millisecond)
					send(t, s, ends[i:i+1])
				}
			})
			want(t, readFunc(read), ends[strings.LastIndex(ends, "data")*btoi(ends == stream):])
			wg.Wait()
			want(t, s, onTheWire+"hello")
			if timeouts < len(ends) {
				t.Errorf("%d deadlines passed, want one for each of %d bytes", timeouts, len(ends))
			}
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// slowWriter takes so many bytes at a time, and then fails as a deadline does.
type slowWriter struct {
	bytes.Buffer
	each int
}

func (w *slowWriter) Write(b []byte) (int, error) {
	n, _ := w.Buffer.Write(b[:min(len(b), w.each)])
	if n < len(b) {
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func TestAWriteThatIsCutShortGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	for each := range 30 {
		w := &slowWriter{each: each + 1}
		x := mdx.New(theRequest)
		for b := []byte("hello world"); len(b) > 0; {
			n, err := x.Write(w, b)
			if n < len(b) && err == nil {
				t.Fatalf("%d of %d bytes without an error", n, len(b))
			}
			b = b[n:]
		}
		if got := w.String(); got != onTheWire+"hello world" {
			t.Errorf("%d bytes at a time: %q", each+1, got)
		}
	}
}

func TestReadsAndWritesGoOnAtTheSameTime(t *testing.T) {
	t.Parallel()
	for range 20 {
		c, s := pair(t)
		const n = 50
		var wg sync.WaitGroup
		wg.Go(func() { want(t, c, strings.Repeat("down", n)) })
		for range 2 {
			wg.Go(func() {
				for range n {
					send(t, c, "up")
				}
			})
		}
		wg.Go(func() {
			want(t, s, onTheWire)
			send(t, s, answer(mdx.Response{Status: mdx.OK}))
			for range n {
				send(t, s, "down")
			}
			want(t, s, strings.Repeat("up", 2*n))
		})
		wg.Wait()
	}
}

func TestAfterTheExchangeNothingIsAllocated(t *testing.T) {
	x := mdx.New(theRequest)
	var w bytes.Buffer
	_, err := x.Write(&w, []byte("hello"))
	wantNil(t, err)
	r := strings.NewReader("data" + strings.Repeat("x", 1<<20))
	b := make([]byte, 4)
	_, err = x.Read(r, b)
	wantNil(t, err)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = x.Read(r, b)
		_, _ = x.Write(io.Discard, b)
	}); n != 0 {
		t.Errorf("%v allocations in a Read and a Write", n)
	}
}
