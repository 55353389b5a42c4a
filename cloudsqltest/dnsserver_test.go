package cloudsqltest_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// pack returns a question, changed by edit.
func pack(t testing.TB, edit func(*dnsmessage.Message)) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("db.example.com."), Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}},
	}
	if edit != nil {
		edit(&m)
	}
	return must(m.Pack())
}

// overTCP sends a message and returns the answer, or nil if the server ends
// the connection.
func overTCP(t testing.TB, s *cloudsqltest.DNSServer, msg []byte) *dnsmessage.Message {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		t.Fatal(err)
	}
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		t.Fatalf("%v: %x", err, answer)
	}
	return &m
}

func TestDNSServerSendsLongAnswersOverTCP(t *testing.T) {
	t.Parallel()
	d := cloudsqltest.NewDNS()
	s := d.Listen()
	defer s.Close()
	text := strings.Repeat("x", 2000) // more than Go's resolver takes over UDP
	d.SetTXT("db.example.com", text)
	wantTXT(t, s.Resolver(), "db.example.com.", text)
	if got := s.Counts(); got.Truncated == 0 || got.TCP == 0 {
		t.Errorf("counts are %+v", got)
	}
}

func TestDNSServerAnswersWhatNoResolverAsks(t *testing.T) {
	t.Parallel()
	d := cloudsqltest.NewDNS()
	d.SetTXT("db.example.com", "text")
	d.SetCNAME("chain.example.com", "chain2.example.com")
	d.SetCNAME("chain2.example.com", "db.example.com")
	d.SetCNAME("bad.example.com", strings.Repeat("a", 64)+".example.com")
	d.SetCNAME("worse.example.com", strings.Repeat("a.", 130)+"example.com")
	d.SetTXT("huge.example.com", strings.Repeat("x", 70_000))
	d.SetTXT("many.example.com", slices.Repeat([]string{strings.Repeat("x", 250)}, 300)...)
	s := d.Listen()
	defer s.Close()
	question := func(name string, qtype dnsmessage.Type) func(*dnsmessage.Message) {
		return func(m *dnsmessage.Message) {
			m.Questions[0].Name, m.Questions[0].Type = dnsmessage.MustNewName(name), qtype
		}
	}
	for name, tt := range map[string]struct {
		edit    func(*dnsmessage.Message)
		code    dnsmessage.RCode
		answers int
	}{
		"a good one":        {nil, dnsmessage.RCodeSuccess, 1},
		"another type":      {question("db.example.com.", dnsmessage.TypeMX), dnsmessage.RCodeSuccess, 0},
		"the first alias":   {question("chain.example.com.", dnsmessage.TypeCNAME), dnsmessage.RCodeSuccess, 1},
		"through aliases":   {question("chain.example.com.", dnsmessage.TypeTXT), dnsmessage.RCodeSuccess, 3},
		"another class":     {func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }, dnsmessage.RCodeRefused, 0},
		"another operation": {func(m *dnsmessage.Message) { m.OpCode = 5 }, dnsmessage.RCodeNotImplemented, 0},
		"no question":       {func(m *dnsmessage.Message) { m.Questions = nil }, dnsmessage.RCodeFormatError, 0},
		"two questions":     {func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }, dnsmessage.RCodeFormatError, 0},
		"a label too long":  {question("bad.example.com.", dnsmessage.TypeCNAME), dnsmessage.RCodeServerFailure, 0},
		"a name too long":   {question("worse.example.com.", dnsmessage.TypeCNAME), dnsmessage.RCodeServerFailure, 0},
		"a record too long": {question("huge.example.com.", dnsmessage.TypeTXT), dnsmessage.RCodeServerFailure, 0},
		"too long for TCP":  {question("many.example.com.", dnsmessage.TypeTXT), dnsmessage.RCodeSuccess, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := overTCP(t, s, pack(t, tt.edit))
			if got == nil || got.ID != 4711 || !got.Response || got.RCode != tt.code || len(got.Answers) != tt.answers {
				t.Errorf("got %+v, want %v with %d answers", got, tt.code, tt.answers)
			}
		})
	}
	if got := overTCP(t, s, pack(t, func(m *dnsmessage.Message) { m.Response = true })); got != nil {
		t.Errorf("an answer is answered: %+v", got)
	}
	if got := overTCP(t, s, []byte("garbage")); got != nil {
		t.Errorf("garbage is answered: %+v", got)
	}
}

func TestDNSServerHonoursTheSizeThatTheClientTakes(t *testing.T) {
	t.Parallel()
	d := cloudsqltest.NewDNS()
	d.SetTXT("db.example.com", strings.Repeat("x", 1000))
	s := d.Listen()
	defer s.Close()
	c := must(net.Dial("udp", s.Addr()))
	defer c.Close()
	for _, size := range []int{0, 100, 1232} {
		_, err := c.Write(pack(t, func(m *dnsmessage.Message) {
			if size > 0 {
				var h dnsmessage.ResourceHeader
				wantNil(t, h.SetEDNS0(size, 0, false))
				other := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("."), Class: dnsmessage.ClassINET}
				m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: other, Body: &dnsmessage.TXTResource{TXT: []string{"x"}}}, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
			}
		}))
		wantNil(t, err)
		b := make([]byte, 4096)
		n, err := c.Read(b)
		wantNil(t, err)
		var m dnsmessage.Message
		wantNil(t, m.Unpack(b[:n]))
		if m.Truncated != (size < 1000) || len(m.Answers) != map[bool]int{true: 0, false: 1}[m.Truncated] {
			t.Errorf("the client takes %d bytes: truncated %t, %d answers", size, m.Truncated, len(m.Answers))
		}
	}
	if got := s.Counts().Truncated; got != 2 {
		t.Errorf("%d truncated, want 2", got)
	}
}

func TestDNSServerCloseEndsEverything(t *testing.T) {
	t.Parallel()
	d := cloudsqltest.NewDNS()
	hang := &cloudsqltest.DNSFault{Hang: true}
	d.Fail("db.example.com", hang)
	s := d.Listen()
	idle := must(net.Dial("tcp", s.Addr()))
	defer idle.Close()
	asked := make(chan error, 1)
	go func() {
		c, err := net.Dial("tcp", s.Addr())
		if err == nil {
			defer c.Close()
			msg := pack(t, nil)
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
			_, err = c.Read(make([]byte, 1))
		}
		asked <- err
	}()
	udp := must(net.Dial("udp", s.Addr()))
	defer udp.Close()
	_, err := udp.Write(pack(t, nil))
	wantNil(t, err)
	eventually(func() int { return d.Hits(hang) }, 2)
	s.Close()
	s.Close()
	if err := <-asked; err == nil {
		t.Error("a hanging question was answered")
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection stays open")
	}
	if _, err := net.DialTimeout("tcp", s.Addr(), time.Second); err == nil {
		t.Error("the server still listens")
	}
}

// Whatever comes over TCP, what is answered can be read, and belongs to the
// question.
func FuzzDNSServer(f *testing.F) {
	f.Add(pack(f, nil))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xc0, 0x0c}, 20))
	for _, qtype := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME, dnsmessage.TypeALL} {
		f.Add(pack(f, func(m *dnsmessage.Message) { m.Questions[0].Type = qtype }))
	}
	d := cloudsqltest.NewDNS()
	d.SetCNAME("db.example.com", "other.example.com")
	d.SetTXT("other.example.com", "text")
	d.SetHost("other.example.com", "203.0.113.1", "2001:db8::1")
	s := d.Listen()
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > 1<<16-1 {
			t.Skip("too long to be sent")
		}
		if got := overTCP(t, s, msg); got != nil && (!got.Response || got.ID != binary.BigEndian.Uint16(msg)) {
			t.Errorf("%x is answered with %+v", msg, got)
		}
	})
}
