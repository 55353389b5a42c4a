package cloudsqltest

// link.go does what a Behavior says, for a connection to an instance (node.go for
// Unreachable, which lets none through), and sqldata.go for one to the service; rule.go
// has a kind of rule for each.

// Behavior is what an instance does with a new connection.
type Behavior int

// The behaviours of an instance, and what [Counts] calls them.
const (
	Healthy           Behavior = iota
	Silent                     // accepts, reads, and never sends anything: Silent
	StallHandshake             // begins its answer to the TLS handshake and stops: Stalled
	CloseAtOnce                // accepts, and ends the connection in an orderly way: Dropped
	ResetAtOnce                // accepts, and resets the connection: Dropped
	Unreachable                // swallows SYNs, as [Server.Swallow] does: Swallowed; like Silent for clients that bypass DialContext
	CloseAfterRefusal          // like Healthy, but closes as soon as it has refused the client certificate, so that what the client writes then fails: Rejected
)

// String returns the name of the constant.
func (b Behavior) String() string {
	return constant(b, "Healthy", "Silent", "StallHandshake", "CloseAtOnce", "ResetAtOnce", "Unreachable", "CloseAfterRefusal")
}

// SetBehavior sets what happens to connections from now on. Existing ones stay as
// they are. In a read pool it applies to all nodes that have no behaviour of their
// own.
func (p *EmulatedInstance) SetBehavior(b Behavior) { p.SetBehaviorFor(0, b) }

// SetBehaviorFor sets what happens to the next n connections; after them the
// instance is Healthy. Zero means for ever.
func (p *EmulatedInstance) SetBehaviorFor(n int, b Behavior) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behavior, p.behaveFor = b, n
}

// nextBehaviorLocked is what happens to one connection more.
func (p *EmulatedInstance) nextBehaviorLocked() Behavior {
	b := p.behavior
	if p.behaveFor > 0 {
		if p.behaveFor--; p.behaveFor == 0 {
			p.behavior = Healthy
		}
	}
	return b
}
