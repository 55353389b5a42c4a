package tds_test

import (
	"context"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/tds"
)

// packet is a message in one packet.
func packet(kind byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind, 1}, uint16(8+len(data)))
	return append(append(b, 0, 0, 1, 0), data...)
}

func ucs2(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// hello is what clients say first: PRELOGIN, and a LOGIN7 of nobody.
func hello() []byte {
	login := make([]byte, 94)
	login[0] = 94
	return append(packet(0x12, []byte{1, 0, 6, 0, 1, 0xff, 2}), packet(0x10, login)...)
}

// conversation is what a client says that has one query.
func conversation(_ *tds.Server, query string) []byte {
	return append(hello(), packet(1, append([]byte{4, 0, 0, 0}, ucs2(query)...))...)
}

func rpc(param ...byte) []byte {
	return append(hello(), packet(3, append([]byte{4, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0}, param...))...)
}

// bulk is a bulk load of one column.
func bulk(column ...byte) []byte {
	return append(hello(), packet(7, append([]byte{0x81, 1, 0, 0, 0, 0, 0, 0, 0}, column...))...)
}

func FuzzServe(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03"))
	f.Add(hello())
	f.Add(conversation(nil, "select 1"))
	f.Add(rpc(0, 0, 0x26, 8, 8, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add(rpc(0, 0, 0xe7, 0xff, 0xff, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0))
	f.Add(rpc(0, 0, 0x6a, 17, 38, 2, 5, 1, 1, 0, 0, 0))
	f.Add(rpc(0, 0, 0x2b, 7, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0))
	f.Add(append(hello(), packet(0x0e, []byte{4, 0, 0, 0, 5, 0, 1, 0})...))
	f.Add(bulk(0x26, 8, 0, 0xd1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0xfd))
	f.Add(packet(0x12, []byte{1, 0xff, 0xff, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &tds.Server{Handle: func(context.Context, tds.Query) (tds.Result, error) { return one, nil }}
		say(s, data)
		got := s.Sessions()[0]
		if !got.Ended {
			t.Error("the session has not ended")
		}
		if len(data) == 0 && got.Err == nil {
			t.Error("a client that says nothing: no error")
		}
	})
}

func FuzzLogin(f *testing.F) {
	login := make([]byte, 100)
	login[0] = 100
	login[40], login[42] = 94, 3
	f.Add(login)
	f.Add(make([]byte, 94))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 30000 {
			return
		}
		s := &tds.Server{SSPI: func([]byte) ([]byte, string, error) { return nil, "somebody", nil }}
		say(s, append(packet(0x12, []byte{1, 0, 6, 0, 1, 0xff, 2}), packet(0x10, data)...))
		got := s.Sessions()[0]
		if n := len(got.Login.User) + len(got.Login.Password); n > 12*len(data) {
			t.Errorf("%d bytes of login out of %d", n, len(data))
		}
	})
}

func TestMalformedMessagesEndTheSession(t *testing.T) {
	t.Parallel()
	short := packet(0x10, make([]byte, 94))
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":                        {nil, "EOF"},
		"half a header":                  {[]byte{0x12, 1, 0}, "unexpected EOF"},
		"half a packet":                  {[]byte{0x12, 1, 0, 9, 0, 0, 1, 0}, "unexpected EOF"},
		"a packet below its header":      {[]byte{0x12, 1, 0, 7, 0, 0, 1, 0}, "a packet of 7 bytes"},
		"a huge packet":                  {[]byte{0x12, 1, 0xff, 0xff, 0, 0, 1, 0}, "a packet of 65535 bytes"},
		"no PRELOGIN":                    {packet(1, nil), "instead of PRELOGIN"},
		"PRELOGIN without an end":        {packet(0x12, nil), "without an end"},
		"PRELOGIN cut":                   {packet(0x12, []byte{1, 0, 6}), "within an option"},
		"an option outside":              {packet(0x12, []byte{1, 0, 9, 0, 1, 0xff, 2}), "outside the message"},
		"an unknown encryption":          {packet(0x12, []byte{1, 0, 6, 0, 1, 0xff, 9}), "says 09 about encryption"},
		"no LOGIN7":                      {append(packet(0x12, []byte{0xff}), packet(1, nil)...), "instead of LOGIN7"},
		"a short LOGIN7":                 {append(packet(0x12, []byte{0xff}), packet(0x10, nil)...), "too short"},
		"LOGIN7 of another size":         {append(packet(0x12, []byte{0xff}), short...), "says that it has 0"},
		"two messages mixed":             {append([]byte{0x12, 0, 0, 8, 0, 0, 1, 0}, packet(1, nil)...), "within a message"},
		"an unknown message":             {append(hello(), packet(2, nil)...), "type 0x02"},
		"a bulk load without columns":    {append(hello(), packet(7, []byte{0x81, 0, 0})...), "without columns"},
		"a bulk load of nothing":         {append(hello(), packet(7, nil)...), "too early"},
		"a bulk load of something else":  {append(hello(), packet(7, []byte{0xd1})...), "token 0xd1"},
		"a bulk load without an end":     {bulk(0x26, 8, 0, 0xd1, 0), "too early"},
		"a bulk load with a stray token": {bulk(0x26, 8, 0, 0xaa), "token 0xaa"},
		"a bulk load of NULLs":           {bulk(0x1f, 0, 0xd1), "type NULL"},
		"a batch without ALL_HEADERS":    {append(hello(), packet(1, []byte{3, 0, 0, 0})...), "ALL_HEADERS"},
		"a parameter of an unknown type": {rpc(0, 0, 0xf3), "type 0xf3"},
		"a parameter that is cut":        {rpc(0, 0, 0x26, 8, 8, 1), "too early"},
		"an integer of three bytes":      {rpc(0, 0, 0x26, 8, 3, 1, 2, 3), "of 3 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &tds.Server{}
			say(s, tt.data)
			if got := session(t, s); !got.Ended || got.Err == nil || !strings.Contains(got.Err.Error(), tt.want) {
				t.Errorf("got %v, want %q", got.Err, tt.want)
			}
		})
	}
}

// endless is a client that never ends its message.
type endless struct {
	script
	sent int
}

func (c *endless) Read(b []byte) (int, error) {
	const size = 32767
	for i := range b {
		b[i] = []byte{0x12, 0, size >> 8, size & 0xff, 0, 0, 1, 0, 0}[min(c.sent%size, 8)]
		c.sent++
	}
	return len(b), nil
}

func TestAMessageWithoutEndIsRefusedBeforeItTakesMemory(t *testing.T) {
	t.Parallel()
	s := &tds.Server{}
	c := &endless{}
	s.Serve(c)
	if got := session(t, s); got.Err == nil || !strings.Contains(got.Err.Error(), "more than") || c.sent > 1<<20 {
		t.Errorf("got %v after %d bytes", got.Err, c.sent)
	}
	runtime.KeepAlive(c)
}
