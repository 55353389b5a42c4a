package mdx_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/cloudsqlconn/cloudsqlconn/internal/mdx"
)

func addMessages(f *testing.F) {
	f.Add([]byte(answer(mdx.Response{Status: mdx.OK}) + "data"))
	f.Add([]byte(answer(mdx.Response{Status: mdx.Refused, Message: "no\n"})))
	f.Add([]byte("CSQLMDEX\x00\x00\x00\x00data"))
	f.Add([]byte("CSQLMDEX\x00\x00\x40\x01"))
	f.Add([]byte("CSQLMDEX\x00\x00\x00\x02\xff\xff"))
	f.Add([]byte(onTheWire + "CSQL"))
	f.Add([]byte("J\x00\x00\x00"))
}

// FuzzRead compares what a client reads at once with what it reads byte for
// byte: what comes out is the end of what went in, or an error.
func FuzzRead(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		x := mdx.New(theRequest)
		_, _ = x.Write(io.Discard, []byte("hello"))
		y := mdx.New(theRequest)
		_, _ = y.Write(io.Discard, []byte("hello"))
		r, slow := bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in))
		out, err := io.ReadAll(readFunc(func(b []byte) (int, error) { return x.Read(r, b) }))
		out2, err2 := io.ReadAll(readFunc(func(b []byte) (int, error) { return y.Read(slow, b) }))
		if !bytes.Equal(out, out2) || (err == nil) != (err2 == nil) {
			t.Errorf("at once %q, %v; byte for byte %q, %v", out, err, out2, err2)
		}
		if !bytes.HasSuffix(in, out) || err != nil && len(out) > 0 {
			t.Errorf("%q became %q, %v", in, out, err)
		}
		if err != nil && (len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\r\n") || !utf8.ValidString(err.Error())) {
			t.Errorf("error %q", err)
		}
	})
}

// streamConn is a net.Conn that can only be read.
type streamConn struct {
	net.Conn
	io.Reader
}

func (c streamConn) Read(b []byte) (int, error)    { return c.Reader.Read(b) }
func (streamConn) SetReadDeadline(time.Time) error { return nil }

func FuzzServer(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		s := mdx.NewServer(streamConn{Reader: bytes.NewReader(in)}, nil)
		r, err := s.Await(time.Second)
		if err != nil {
			return
		}
		out, err := io.ReadAll(s)
		if err != nil || !bytes.HasSuffix(in, out) || (r == nil) != (len(in) == len(out)) {
			t.Errorf("%q became %v and %q, %v", in, r, out, err)
		}
	})
}
