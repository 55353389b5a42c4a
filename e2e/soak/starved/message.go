package starved

import "time"

// orders is what the child is told: where everything is, and what to do.
type orders struct {
	API, Token, Login string        // of the Admin API
	Network           string        // address of network
	Duration          time.Duration // of the load
	Callers           []caller
	Databases         []database
}

// caller dials an instance again and again, with contexts of such lengths.
type caller struct {
	Instance    string
	Least, Most time.Duration
}

// database is what pools of connections are made to.
type database struct {
	Driver string // postgres, pgxpool, mysql or sqlserver
	DSN    string
	Sleep  string // a query that takes longer than anybody waits
}

// news is what the child tells: first that it is ready, then that it lives, and
// in the end what has happened.
type news struct {
	Ready  bool
	Report *report
}

// report is all that has happened in the child.
type report struct {
	Ran      spans
	Counts   map[string]int           // calls by kind and outcome
	Latest   map[string]time.Duration // by kind: the latest return after the end of the context, in running time
	Late     []*lateness
	Failures []failure
	Broken   []string // what does not work once all faults are over
	Leaks    []string

	Goroutines, Sockets int // peaks
	Heap                uint64
}

// lateness is a call that did not return in time.
type lateness struct {
	Kind, On string
	Patience time.Duration
	At       time.Duration // when its context ended, since the start of the load
	Late     time.Duration // in running time
	Wall     time.Duration
	Returned bool
	Stack    string // where it was when half of its grace was over
}
