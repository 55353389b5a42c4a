package dns

import (
	"context"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Whatever comes, what is answered is an answer to it, no longer than the client
// takes it.
func FuzzAnswer(f *testing.F) {
	zone := NewZone()
	zone.Change("a.test", func(r *Records) {
		r.TXT = [][]string{Split(string(make([]byte, 3*MaxString)))}
		r.Hosts = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	})
	zone.Change("alias.test", func(r *Records) { r.CNAME = "a.test." })
	zone.Change("bad.test", func(r *Records) { r.CNAME = "no..name." })
	for _, name := range []string{"a.test.", "alias.test.", "bad.test.", "."} {
		for _, t := range []dnsmessage.Type{dnsmessage.TypeTXT, dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME, dnsmessage.TypeMX} {
			m := dnsmessage.Message{
				Header:      dnsmessage.Header{ID: 7, RecursionDesired: true},
				Questions:   []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: t, Class: dnsmessage.ClassINET}},
				Additionals: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("."), Class: 600}, Body: &dnsmessage.OPTResource{}}},
			}
			msg, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(msg, false)
			f.Add(msg, true)
		}
	}
	s := &Server{ctx: context.Background(), ask: func(_ context.Context, name, questionType string) (Answer, bool) {
		return zone.Answer(name, questionType), true
	}}
	f.Fuzz(func(t *testing.T, msg []byte, tcp bool) {
		reply := s.answer(msg, tcp)
		if reply == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil || !m.Response || m.ID != uint16(msg[0])<<8|uint16(msg[1]) {
			t.Fatalf("to %x: %x: %v", msg, reply, err)
		}
		q, most, _ := parseQuestion(msg)
		if !tcp && len(reply) > most || len(m.Questions) == 1 && m.Questions[0] != q.Question {
			t.Errorf("to %x, at most %d bytes: %+v", msg, most, m)
		}
	})
}
