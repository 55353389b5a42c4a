package dns

import "golang.org/x/net/dns/dnsmessage"

// ttl is how long answers may be kept, in seconds: tests change records at
// any time.
const ttl = 0

// question is a question on the wire.
type question struct {
	dnsmessage.Question
	header dnsmessage.Header // of the answer
}

// parseQuestion returns nil if msg is nothing that can be answered. It also
// returns how long an answer over UDP may be, and what is wrong with the
// question.
func parseQuestion(msg []byte) (q *question, most int, code dnsmessage.RCode) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return nil, 0, 0
	}
	q = &question{header: dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true}}
	questions, err := p.AllQuestions()
	switch {
	case h.OpCode != 0:
		return q, maxUDP, dnsmessage.RCodeNotImplemented
	case err != nil || len(questions) != 1:
		return q, maxUDP, dnsmessage.RCodeFormatError
	}
	q.Question = questions[0]
	if q.Class != dnsmessage.ClassINET {
		return q, maxUDP, dnsmessage.RCodeRefused
	}
	return q, udpSize(&p), dnsmessage.RCodeSuccess
}

// udpSize is how long an answer over UDP the client takes, by EDNS0.
func udpSize(p *dnsmessage.Parser) int {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return maxUDP
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return maxUDP
		}
		if h.Type == dnsmessage.TypeOPT {
			return max(maxUDP, int(h.Class))
		}
		if p.SkipAdditional() != nil {
			return maxUDP
		}
	}
}

// reply packs an answer.
func (q *question) reply(a Answer) []byte {
	m := dnsmessage.Message{Header: q.header}
	m.RCode = a.Code
	if q.Name.Length > 0 {
		m.Questions = []dnsmessage.Question{q.Question}
	}
	owner := q.Name
	add := func(body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   body,
		})
	}
	bodies, aliases := a.bodies(q.Type), a.Aliases
	switch {
	case q.Type == dnsmessage.TypeCNAME && len(aliases) > 1:
		aliases = aliases[:1]
	case len(bodies) == 0 && a.Records.CNAME != "": // not followed
		aliases = append(aliases, a.Records.CNAME)
	}
	for _, target := range aliases {
		name, err := dnsmessage.NewName(target)
		if err != nil { // too long
			m.RCode = dnsmessage.RCodeServerFailure
			break
		}
		add(&dnsmessage.CNAMEResource{CNAME: name})
		owner = name
	}
	for _, body := range bodies {
		add(body)
	}
	msg, err := m.Pack()
	if err != nil { // a target that is no domain name, or a record that is too long
		m.Answers, m.RCode = nil, dnsmessage.RCodeServerFailure
		if msg, err = m.Pack(); err != nil {
			panic("cloudsqltest: " + err.Error())
		}
	}
	return msg
}

// bodies are the records that answer a question of this type.
func (a Answer) bodies(t dnsmessage.Type) (list []dnsmessage.ResourceBody) {
	switch t {
	case dnsmessage.TypeTXT:
		for _, parts := range a.Records.TXT {
			list = append(list, &dnsmessage.TXTResource{TXT: parts})
		}
	case dnsmessage.TypeA, dnsmessage.TypeAAAA:
		for _, ip := range a.Records.Hosts {
			switch {
			case ip.Is4() && t == dnsmessage.TypeA:
				list = append(list, &dnsmessage.AResource{A: ip.As4()})
			case !ip.Is4() && t == dnsmessage.TypeAAAA:
				list = append(list, &dnsmessage.AAAAResource{AAAA: ip.As16()})
			}
		}
	}
	return list
}
