// Package heard looks whether a connection that should be idle has something to
// say. That is mostly its end. It knows no protocol.
package heard

// State is what a look at a connection has found.
type State int

// The states of a connection.
const (
	Unknown   State = iota // it cannot be looked at: it has no socket
	Quiet                  // the server has said nothing
	Something              // there is something to read, if only the end
	Busy                   // a Read or a Write is in progress: it may be any of these
)
