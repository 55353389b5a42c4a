package cloudsqltest

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// StreamFault is what goes wrong, or is unusual, with a stream of SQL Data.
// [SQLData.Hits] returns how many streams met it. Delay comes first, then Hang, then
// Status. It must not be changed once [Server].OnStream has returned it, or once it
// has been passed to [EmulatedInstance.SetStreamFault].
type StreamFault struct {
	// Times is how many streams meet the fault; those after them are served as
	// if there were none. Zero means all.
	Times int

	// Delay is how long it takes until the client's start_session is answered.
	Delay time.Duration

	// Hang means no answer. What the client sends is read. The stream ends when
	// the client gives up or the Server is closed.
	Hang bool

	// Status ends the stream, at the point At. See [StreamStatus].
	Status *status.Status

	// At is when Status comes. Default: AtOpen, in place of any answer.
	At StreamPoint

	// After is how much later than At that is: the stream's lifetime, with
	// AfterMetadata.
	After time.Duration

	// Metadata is when the service sends its SessionMetadata.
	Metadata MetadataTime

	// StopReading makes the service read nothing after start_session.
	StopReading bool

	// Flood is the size of messages of zeros, in bytes of data, that the service
	// sends after its metadata, before anything of the database's. Zero means
	// none.
	Flood int

	// FloodMessages is how many of them it sends. Zero means no limit.
	FloodMessages int

	// Noise precedes each message with data by one of a kind that no client knows,
	// one with empty data, and one with nothing but an ack.
	Noise bool

	// Chunk is the maximum number of bytes of data in a message from the service.
	// Default: 32 KiB, less what surrounds the data.
	Chunk int

	// End is how the service announces that the database has closed the connection.
	End StreamEnd
}

// SetStreamFault sets what goes wrong with streams of SQL Data to the instance
// from now on, unless [Server].OnStream returns a fault. Existing streams stay as
// they are. Nil undoes it.
func (p *EmulatedInstance) SetStreamFault(f *StreamFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streamFault = f
}

// EndStreams ends all streams of SQL Data to the instance with a status, see
// [StreamStatus], and returns how many there were. [EmulatedInstance.CutConnections] also ends
// them, with ABORTED and the reason DISCONNECTED.
func (p *EmulatedInstance) EndStreams(with *status.Status) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.stream == nil || !l.open {
			continue
		}
		l.open = false
		l.stream.over <- with.Err()
		n++
	}
	return n
}

// StreamPoint is a moment in the life of a stream.
type StreamPoint int

// The moments at which a [StreamFault] can end a stream.
const (
	AtOpen        StreamPoint = iota // when start_session has arrived
	AfterMetadata                    // when the metadata has been sent, before any data
	AfterData                        // when the first data has been sent
)

// String returns the name of the constant.
func (p StreamPoint) String() string {
	return constant(p, "AtOpen", "AfterMetadata", "AfterData")
}

// MetadataTime is when the service sends its SessionMetadata.
type MetadataTime int

// The times of the metadata; [StreamFault].Delay delays it.
const (
	MetadataFirst    MetadataTime = iota // as the answer to start_session
	MetadataWithData                     // right before the database's first data
	MetadataNever
)

// String returns the name of the constant.
func (t MetadataTime) String() string {
	return constant(t, "MetadataFirst", "MetadataWithData", "MetadataNever")
}

// StreamEnd is how the service announces that the database has closed the
// connection.
type StreamEnd int

// The ends of a stream. Which of them Google's service prefers is not public.
const (
	EndCanceled  StreamEnd = iota // the status CANCELLED, with the reason DB_SERVER_CLOSED, or DB_CLIENT_CLOSED if the client ended first
	EndTerminate                  // terminate_session, then the status OK
	EndOK                         // the status OK
)

// String returns the name of the constant.
func (e StreamEnd) String() string {
	return constant(e, "EndCanceled", "EndTerminate", "EndOK")
}

// What SQL Data says when it does not serve an instance, with the code
// FAILED_PRECONDITION. Of the first text only the beginning is public.
const (
	EditionRefusal = wire.EditionRefusal
	TunnelRefusal  = wire.TunnelRefusal
)

// StreamStatus returns a Status for a [StreamFault]. A reason, such as
// UNSUPPORTED_INSTANCE_TYPE, DB_SERVER_CLOSED, DISCONNECTED, INVALID_ACK or
// RECONNECT_FAILED, becomes an ErrorInfo of the service, unless it is empty. A
// retry above zero becomes a RetryInfo. For any other Status, use [status.New].
func StreamStatus(code codes.Code, text, reason string, retry time.Duration) *status.Status {
	s := status.New(code, text)
	if reason != "" {
		s = must(s.WithDetails(&errdetails.ErrorInfo{Reason: wire.ReasonPrefix + reason, Domain: wire.ErrorDomain}))
	}
	if retry > 0 {
		s = must(s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retry)}))
	}
	return s
}
