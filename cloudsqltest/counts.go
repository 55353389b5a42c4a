package cloudsqltest

import "reflect"

// Counts is what has happened at an instance since it was added, so that a
// test can assert that a fault did happen.
//
// Everything is counted before the client can notice it, except Distrusted
// and Failed, where the client is the first to know: in a synctest bubble,
// call synctest.Wait before looking at these. The same holds for Handshakes
// until the client has read something.
type Counts struct {
	Refused   int // attempts to connect while stopped or deleted, or at an address that it has left
	Swallowed int // attempts to connect that got no answer: Unreachable and Server.Swallow
	Accepted  int // TCP connections, including those below

	Silent  int // connections that got no answer
	Stalled int // handshakes answered in part
	Dropped int // connections ended by CloseAtOnce and ResetAtOnce

	Handshakes int // completed, with a good client certificate
	Resumed    int // those of them that resumed a session
	Rejected   int // handshakes that failed on the client's certificate: expired, not valid yet, of another CA
	Distrusted int // handshakes that the client ended with an alert, as it does when it does not trust the server
	Failed     int // handshakes that failed otherwise: the client hung up, has no certificate or no TLS 1.2

	Streams int // of SQL Data that led to the instance; not among Accepted

	Denied   int // logins refused because the user is not that of the certificate's login token: [Server.Principals]
	Expired  int // logins refused because the token that the pooler has kept had expired: [Pooler]
	Unserved int // connections whose backend could not be reached
	Cut      int // connections ended by CutConnections, Stop, DeleteInstance and Close
}

// Counts returns what has happened so far, at the nodes of a read pool, too;
// [PoolNode.Counts] returns what has happened there alone. Refused and Swallowed know only of
// attempts made through [Server.DialContext]: what the kernel refuses is not
// seen.
func (p *Proxy) Counts() Counts {
	var sum Counts
	total := reflect.ValueOf(&sum).Elem()
	for _, p := range p.all() {
		p.mu.Lock()
		counts := reflect.ValueOf(p.counts)
		p.mu.Unlock()
		for i := range total.NumField() {
			total.Field(i).SetInt(total.Field(i).Int() + counts.Field(i).Int())
		}
	}
	return sum
}

// Accepted returns how many TCP connections the instance has accepted.
func (p *Proxy) Accepted() int { return p.Counts().Accepted }

// count adds one to n, a field of p.counts.
func (p *Proxy) count(n *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n++
}
