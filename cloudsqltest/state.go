package cloudsqltest

import (
	"slices"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest/internal/reply"
)

// State is the state of an instance. Clients of Cloud SQL notice it in two ways
// only: whether the instance answers, and what the Admin API says when asked.
type State string

// The states of an instance, by the Admin API's names where it has one. It has
// none for instances that an administrator has stopped, or for those that are
// starting again.
const (
	Runnable    State = "RUNNABLE"
	Stopped     State = "STOPPED"
	Starting    State = "STARTING"
	Suspended   State = "SUSPENDED"
	Maintenance State = "MAINTENANCE"
)

// States returns all states, beginning with that of a new instance.
func States() []State { return []State{Runnable, Stopped, Starting, Suspended, Maintenance} }

// State returns the state of the instance. Stop and Start do not change it.
func (p *EmulatedInstance) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// SetState puts the instance into a state as an administrator, or Cloud SQL, can.
// While it is not [Runnable], the Admin API answers calls about the instance with
// 409, invalidState, and the instance refuses connections, as after [EmulatedInstance.Stop],
// which SetState calls; Start has no effect. With Runnable it starts again. SetState
// panics if there is no such state. It must not be called from a Handler.
func (p *EmulatedInstance) SetState(to State) {
	if !slices.Contains(States(), to) {
		panic("cloudsqltest: SetState: no such state: " + string(to))
	}
	wait := p.enter(to)
	defer complain("SetState", p.blame)()
	wait()
}

func (p *EmulatedInstance) enter(to State) (wait func()) {
	p.entering.Lock() // or Stop of one call could follow Start of a later one
	defer p.entering.Unlock()
	p.mu.Lock()
	p.state = to
	p.mu.Unlock()
	if to == Runnable {
		p.Start()
		return func() {}
	}
	return p.halt(false)
}

// runsLocked reports whether the state, of the pool for a node, lets the
// instance listen.
func (p *EmulatedInstance) runsLocked() bool {
	if p.pool == nil {
		return p.state == Runnable
	}
	return p.pool.State() == Runnable // its lock comes after that of the node
}

// wrongState is what the API says of an instance that is not Runnable.
func wrongState(state State) *reply.Reply {
	if state == Suspended {
		return reply.WrongState(string(state))
	}
	return reply.WrongState("")
}
