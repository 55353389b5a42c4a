package tlsconn

import (
	"net"
	"os"
	"testing"
)

// slow is a connection that takes nothing while it is late.
type slow struct {
	net.Conn
	late  bool
	taken []byte
}

func (s *slow) Write(b []byte) (int, error) {
	if s.late {
		return 0, os.ErrDeadlineExceeded
	}
	s.taken = append(s.taken, b...)
	return len(b), nil
}

// A Read can answer a new key at any time, and meet the deadline of a Write that
// is about to gather its records: what is left of the answer goes first.
func TestWhatIsHeldGoesBeforeABatch(t *testing.T) {
	t.Parallel()
	under := &slow{late: true}
	tr := &transport{Conn: under}
	write := func(text string) {
		t.Helper()
		if n, err := tr.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	write("key") // of the Read, after the flush of the Write
	if len(under.taken) != 0 || string(tr.held) != "key" {
		t.Fatalf("no deadline has been met: %q, %q", under.taken, tr.held)
	}
	under.late = false
	b := tr.cork()
	write(" batch")
	if err := tr.uncork(b); err != nil || string(under.taken) != "key batch" {
		t.Errorf("sent %q, %v", under.taken, err)
	}
}
