// Package wire is the protocol of SQL Data, Cloud SQL's gRPC service that carries
// the bytes of a database connection in a stream: its name, its messages, and the
// [Codec] that writes and reads them on both sides. It knows nothing of connections.
//
// The messages are those of google.cloud.sql.v1beta4.SqlDataService, method
// StreamSqlData, as cloud.google.com/go/sql v0.7.0 publishes them. They are coded
// here by hand. A generated copy would register their names with the protobuf
// runtime, and a program that also links Google's does not start with two of
// them.
package wire

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// The service, and its one method.
const (
	Service = "google.cloud.sql.v1beta4.SqlDataService"
	Method  = "StreamSqlData"
	Path    = "/" + Service + "/" + Method
)

// Desc describes the method to a client, and with a Handler to a server.
var Desc = grpc.StreamDesc{StreamName: Method, ClientStreams: true, ServerStreams: true}

// MaxChunk is how many bytes of the database's a message of ours carries at most.
// A server is free to send longer ones.
const MaxChunk = 32 << 10

// AutoIAM is the authentication type of an IAM login. It is in no published
// definition: cloud.google.com/go/cloudsqlconn v1.27.0 sends it.
const AutoIAM = 2

// Session names a session and its instance: StartSession and ContinueSession.
type Session struct {
	Location           string // locations/REGION
	Instance           string // projects/PROJECT/instances/NAME
	ID                 string // chosen by a client that may resume; StartSession only without
	AuthenticationType uint64 // StartSession only; 0: as with a password
}

// NewSession is the session of an instance that is not resumed.
func NewSession(project, region, instance string) Session {
	return Session{Location: "locations/" + region, Instance: "projects/" + project + "/instances/" + instance}
}

// Name is the instance's connection name.
func (s Session) Name() string {
	return strings.Replace(strings.TrimPrefix(s.Instance, "projects/"), "/instances/", ":"+strings.TrimPrefix(s.Location, "locations/")+":", 1)
}

// RoutingHeader is the value of x-goog-request-params, by which the front end
// finds the region.
func (s Session) RoutingHeader() string {
	return fmt.Sprintf("location_id=%s&instance_id=%s", s.Location, s.Instance)
}

// Request is a StreamSqlDataRequest. At most one of the fields but Ack is set.
type Request struct {
	Start     *Session
	Continue  *Session
	Data      *Data
	Terminate *status.Status
	Ack       *int64 // bytes received so far

	Unknown []protowire.Number // received fields that are not known here, those of a session included
}

// Raw is a message as it is sent, for messages that no type here can be.
type Raw []byte

// Response is a StreamSqlDataResponse. At most one of the fields but Ack is set;
// none is in a message of a kind that is not known here.
type Response struct {
	Metadata  *Metadata
	Data      *Data
	Terminate *status.Status
	Ack       *int64 // bytes received so far
}

// Metadata is a SessionMetadata, the first message of a server.
type Metadata struct {
	Features []uint64 // see [Reconnect]
}

// Reconnect is the feature of a server that resumes sessions.
const Reconnect = 1

// The reasons that a server gives in an ErrorInfo, or in the text of a status.
// They have the prefix [ReasonPrefix]. cloud.google.com/go/cloudsqlconn v1.22.1
// lists them.
const (
	ReasonPrefix    = "STREAM_SQL_DATA_ERROR_REASON_"
	UnsupportedType = ReasonPrefix + "UNSUPPORTED_INSTANCE_TYPE" // with FAILED_PRECONDITION
	ReconnectFailed = ReasonPrefix + "RECONNECT_FAILED"          // with INTERNAL
	ClientClosed    = ReasonPrefix + "DB_CLIENT_CLOSED"          // with CANCELLED: an end like any other
	ServerClosed    = ReasonPrefix + "DB_SERVER_CLOSED"          // with CANCELLED: an end like any other
	InvalidAck      = ReasonPrefix + "INVALID_ACK"               // with FAILED_PRECONDITION
	Disconnected    = ReasonPrefix + "DISCONNECTED"              // with ABORTED: the service has lost the instance
	ErrorDomain     = "sqladmin.googleapis.com"
	EditionRefusal  = "unsupported instance edition"            // how the text of a refusal begins, with FAILED_PRECONDITION
	TunnelRefusal   = "Instance does not allow connect tunnel." // the text of another
)
