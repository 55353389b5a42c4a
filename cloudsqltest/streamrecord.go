package cloudsqltest

import (
	"slices"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// Stream is a stream that the SQL Data service has seen.
type Stream struct {
	Time    time.Time
	Client  string        // the address of the TCP connection, which streams share
	Path    string        // of the call: /service/method
	Header  metadata.MD   // includes authorization, x-goog-request-params, x-goog-user-project, user-agent
	Timeout time.Duration // the client's grpc-timeout, on arrival; 0: none
	Fault   *StreamFault  // what was made to go wrong with it, or nil

	// Fields of start_session, as received.
	Location           string // locations/REGION
	Instance           string // projects/PROJECT/instances/NAME
	SessionID          string
	AuthenticationType uint64 // 2: IAM login

	// What the client has sent.
	Messages int     // all of them
	Data     int     // those with data, empty ones included
	Received int64   // bytes of data
	Largest  int     // the largest of them, in bytes of data
	Offset   int64   // the highest first_byte_offset
	Acks     int     // messages with an ack
	Unknown  []int32 // the numbers of fields that no published definition has

	// How the client has ended it, if that was before the service did.
	HalfClosed bool // the end of its messages
	Terminated bool // terminate_session
	Canceled   bool // RST_STREAM
	Lost       bool // the TCP connection has ended

	// What the service has sent.
	Metadata bool           // its SessionMetadata
	Sent     int64          // bytes of data
	Status   *status.Status // how it ended the stream; nil if it has not, or if the client was first
}

// Streams returns the streams so far, oldest first. They are kept as long as the
// service exists, unless [Server].MaxRequests limits their number; what they point
// to is shared and must not be modified.
func (d *SQLData) Streams() []Stream {
	d.mu.Lock()
	defer d.mu.Unlock()
	streams := make([]Stream, len(d.streams))
	for i, r := range d.streams {
		streams[i] = *r
		streams[i].Unknown = slices.Clone(r.Unknown)
	}
	return streams
}

// Hits returns how many streams have met the fault, which is identified by its
// address. A stream is counted before its client can notice anything.
func (d *SQLData) Hits(f *StreamFault) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hits[f]
}

// add counts a message.
func (r *Stream) add(m *wire.Request) {
	r.Messages++
	if m.Ack != nil {
		r.Acks++
	}
	if m.Data != nil {
		r.Data++
		r.Received += int64(m.Data.Len())
		r.Largest, r.Offset = max(r.Largest, m.Data.Len()), max(r.Offset, m.Data.Offset)
	}
	r.Terminated = r.Terminated || m.Terminate != nil
	for _, n := range m.Unknown {
		r.Unknown = append(r.Unknown, int32(n))
	}
}

// note changes the record of a stream.
func (s *stream) note(change func(*Stream)) {
	s.conn.service.mu.Lock()
	defer s.conn.service.mu.Unlock()
	change(s.record)
}

// meet returns the fault that the stream meets, and counts that. It returns an
// empty one if there is none.
func (s *stream) meet(f *StreamFault) *StreamFault {
	d := s.conn.service
	d.mu.Lock()
	defer d.mu.Unlock()
	if f == nil || f.Times > 0 && d.hits[f] >= f.Times {
		return &StreamFault{}
	}
	d.hits[f]++
	s.record.Fault = f
	return f
}
