package interop

import (
	"errors"
	"io"
	"net"
	"testing"

	"cloud.google.com/go/sql/apiv1beta4/sqlpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// TestSQLDataMessagesAreGoogles has Google's generated messages and the codec of
// cloudsqlconn, in one program, speak to each other: every message and field,
// those that no client sends included.
func TestSQLDataMessagesAreGoogles(t *testing.T) {
	t.Parallel()
	const location, instance = "locations/europe-west1", "projects/google.com:p/instances/my-db"
	ended := &status.Status{Code: 1, Message: "bye"}
	ack := &sqlpb.Ack{ReceivedOffset: 1 << 40}

	t.Run("requests", func(t *testing.T) {
		t.Parallel()
		sent := []*sqlpb.StreamSqlDataRequest{
			{Message: &sqlpb.StreamSqlDataRequest_StartSession{StartSession: &sqlpb.StartSession{LocationId: location, InstanceId: instance, SessionId: "id"}}},
			{Ack: ack, Message: &sqlpb.StreamSqlDataRequest_ContinueSession{ContinueSession: &sqlpb.ContinueSession{LocationId: location, InstanceId: instance, SessionId: "id"}}},
			{Message: &sqlpb.StreamSqlDataRequest_Data{Data: &sqlpb.DataPacket{FirstByteOffset: 7, Data: []byte("hello")}}},
			{Ack: ack},
			{Message: &sqlpb.StreamSqlDataRequest_TerminateSession{TerminateSession: &sqlpb.TerminateSession{Status: ended}}},
		}
		session := &wire.Session{Location: location, Instance: instance, ID: "id"}
		offset := ack.ReceivedOffset
		want := []*message{
			{Start: session},
			{Continue: session, Ack: &offset},
			{Data: "hello", Offset: 7},
			{Ack: &offset},
			{Terminate: ended},
		}
		var got []*message
		cc := serveSQLData(t, func(s grpc.ServerStream) error {
			for {
				m := new(wire.Request)
				switch err := s.RecvMsg(m); {
				case errors.Is(err, io.EOF):
					return nil
				case err != nil:
					return err
				}
				one := &message{Start: m.Start, Continue: m.Continue, Ack: m.Ack, Terminate: m.Terminate}
				if m.Data != nil {
					data, _ := io.ReadAll(m.Data)
					one.Data, one.Offset = string(data), m.Data.Offset
				}
				got = append(got, one)
			}
		})
		stream, err := sqlpb.NewSqlDataServiceClient(cc).StreamSqlData(t.Context())
		wantNil(t, err)
		for _, m := range sent {
			wantNil(t, stream.Send(m))
		}
		wantNil(t, stream.CloseSend())
		if _, err := stream.Recv(); err != io.EOF {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("responses", func(t *testing.T) {
		t.Parallel()
		offset := ack.ReceivedOffset
		want := []*sqlpb.StreamSqlDataResponse{
			{Message: &sqlpb.StreamSqlDataResponse_SessionMetadata{SessionMetadata: &sqlpb.SessionMetadata{SupportedFeatures: []sqlpb.SqlDataFeature{sqlpb.SqlDataFeature_SQL_DATA_FEATURE_RECONNECT}}}},
			{Message: &sqlpb.StreamSqlDataResponse_Data{Data: &sqlpb.DataPacket{Data: []byte("hello")}}},
			{Ack: ack},
			{Message: &sqlpb.StreamSqlDataResponse_TerminateSession{TerminateSession: &sqlpb.TerminateSession{Status: ended}}},
		}
		cc := serveSQLData(t, func(s grpc.ServerStream) error {
			for _, m := range []*wire.Response{
				{Metadata: &wire.Metadata{Features: []uint64{wire.Reconnect}}},
				wire.NewResponse([]byte("hello")),
				{Ack: &offset},
				{Terminate: ended},
			} {
				if err := s.SendMsg(m); err != nil {
					return err
				}
			}
			return nil
		})
		stream, err := sqlpb.NewSqlDataServiceClient(cc).StreamSqlData(t.Context())
		wantNil(t, err)
		for _, want := range want {
			got, err := stream.Recv()
			wantNil(t, err)
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// message is a request that was received.
type message struct {
	Start, Continue *wire.Session
	Data            string
	Offset          int64
	Terminate       *status.Status
	Ack             *int64
}

// serveSQLData serves the method with handle, and returns a connection to that.
func serveSQLData(t *testing.T, handle func(grpc.ServerStream) error) *grpc.ClientConn {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	wantNil(t, err)
	server := grpc.NewServer(grpc.ForceServerCodecV2(wire.Codec))
	desc := wire.Desc
	desc.Handler = func(_ any, s grpc.ServerStream) error { return handle(s) }
	server.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, Streams: []grpc.StreamDesc{desc}}, nil)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	cc, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	wantNil(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}
