package login

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// A client that may log in as anyone gets through what it has sent, except for
// requests for encryption, which are declined.
func FuzzCheck(f *testing.F) {
	startup := "\x00\x00\x00\x17\x00\x03\x00\x00user\x00me\x00\x00\x00\x00\x00"
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"+startup+"p..."), false)
	f.Add([]byte("\x00\x00\x00\x10\x04\xd2\x16\x2e12345678"), false)
	f.Add([]byte("\x28\x00\x00\x01\x00\x02\x00\x00\x00\x00\x00\x01\x2d"+string(make([]byte, 23))+"me\x00\x00\x00\x00\x00\x00"), true)
	f.Fuzz(func(t *testing.T, sent []byte, mysql bool) {
		var told bytes.Buffer
		var failed error
		cfg := Config{
			In: iotest.HalfReader(bytes.NewReader(sent)), Out: &told, Anyone: true,
			Denied: func(user string) { t.Errorf("%q is denied", user) },
			Failed: func(err error) { failed = err },
			End:    func() { t.Error("the connection is ended") },
		}
		if mysql {
			cfg.Engine = MySQL
		}
		got, err := io.ReadAll(NewCheck(cfg))
		declined := told.Len()
		switch {
		case err != nil && (len(got) > 0 || failed != nil && failed != err):
			t.Errorf("got %x, and %v, and %v was told", got, err, failed)
		case !bytes.HasSuffix(sent, got):
			t.Errorf("got %x of %x", got, sent)
		case bytes.Count(told.Bytes(), []byte("N")) != declined || mysql && declined > 0:
			t.Errorf("the client has been told %q", told.Bytes())
		case err == nil && len(got) > 0 && len(got) > len(sent)-8*declined:
			t.Errorf("%d requests for encryption are declined, and %d bytes of %d passed on", declined, len(got), len(sent))
		}
	})
}

// A greeting loses the offer of TLS and nothing else, in however many pieces it
// comes.
func FuzzGreeting(f *testing.F) {
	f.Add([]byte("\x2c\x00\x00\x00\x0a8.4\x00\x01\x00\x00\x0012345678\x00\xff\xff\xff\x02\x00\xff\xff\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00"), 7)
	f.Add([]byte("\x05\x00\x00\x00\xff\x10\x04no"), 1)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		var g greeting
		var got []byte
		piece = max(piece, 1)
		for rest := sent; len(rest) > 0; {
			n := min(piece, len(rest))
			got = append(got, g.alter(rest[:n:n])...)
			rest = rest[n:]
		}
		if !g.over || mysqlSize(sent) > maxGreeting {
			return // it is still held, or no greeting
		}
		want := bytes.Clone(sent)
		if at := capabilitiesAt(want); at > 0 {
			want[at+1] &^= mysqlTLS >> 8
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got %x, want %x", got, want)
		}
	})
}
