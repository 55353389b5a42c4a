package cloudsqltest

import "reflect"

// Counts is what has happened at an instance since it was added, so that a
// test can assert that a fault really happened.
//
// Everything is counted before the client can notice it, except Distrusted
// and Failed, where the client is the first to know: in a synctest bubble,
// call synctest.Wait before looking at these. The same goes for Handshakes
// until the client has read something.
type Counts struct {
	Refused   int // attempts to connect while stopped or deleted, or at a former address
	Swallowed int // attempts to connect that got no answer: Unreachable and Server.Swallow
	Accepted  int // TCP connections, including those below

	Silent  int // connections that got no answer
	Stalled int // handshakes answered only in part
	Dropped int // connections ended by CloseAtOnce and ResetAtOnce

	Handshakes int // completed, with a good client certificate
	Resumed    int // those of them that resumed a session
	Rejected   int // handshakes that failed because of the client's certificate: expired, not valid yet, from another CA
	Distrusted int // handshakes that the client ended with an alert, as it does when it does not trust the server
	Failed     int // handshakes that failed otherwise: the client hung up, or has no certificate or no TLS 1.2

	Streams int // streams of SQL Data to the instance; not included in Accepted

	Denied   int // logins refused because the user is not that of the certificate's login token: [Server.Principals]
	Expired  int // logins refused because the token that the pooler keeps had expired: [Pooler]
	Unserved int // connections whose backend could not be reached
	Cut      int // connections ended by CutConnections, Stop, DeleteInstance and Close
}

// Counts returns what has happened so far, including at the nodes of a read pool;
// [PoolNode.Counts] returns what has happened at one node. Refused and Swallowed
// include only attempts made through [Server.DialContext]: those that the kernel
// refuses are not seen.
func (p *EmulatedInstance) Counts() Counts {
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
func (p *EmulatedInstance) Accepted() int { return p.Counts().Accepted }

// count adds one to n, a field of p.counts.
func (p *EmulatedInstance) count(n *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n++
}
