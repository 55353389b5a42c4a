package wire_test

import (
	"bytes"
	"io"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// theFile describes the messages to the protobuf runtime, outside its registry.
const theFile = `
name: "test.proto" package: "test" syntax: "proto3" dependency: "google/rpc/status.proto"
message_type { name: "Request"
	field { name: "ack" number: 4 type: TYPE_MESSAGE type_name: ".test.Ack" label: LABEL_OPTIONAL }
	field { name: "start" number: 5 type: TYPE_MESSAGE type_name: ".test.Session" label: LABEL_OPTIONAL oneof_index: 0 }
	field { name: "continue" number: 6 type: TYPE_MESSAGE type_name: ".test.Session" label: LABEL_OPTIONAL oneof_index: 0 }
	field { name: "data" number: 7 type: TYPE_MESSAGE type_name: ".test.Packet" label: LABEL_OPTIONAL oneof_index: 0 }
	field { name: "terminate" number: 8 type: TYPE_MESSAGE type_name: ".test.Terminate" label: LABEL_OPTIONAL oneof_index: 0 }
	oneof_decl { name: "message" }
}
message_type { name: "Response"
	field { name: "ack" number: 2 type: TYPE_MESSAGE type_name: ".test.Ack" label: LABEL_OPTIONAL }
	field { name: "metadata" number: 3 type: TYPE_MESSAGE type_name: ".test.Metadata" label: LABEL_OPTIONAL oneof_index: 0 }
	field { name: "data" number: 4 type: TYPE_MESSAGE type_name: ".test.Packet" label: LABEL_OPTIONAL oneof_index: 0 }
	field { name: "terminate" number: 5 type: TYPE_MESSAGE type_name: ".test.Terminate" label: LABEL_OPTIONAL oneof_index: 0 }
	oneof_decl { name: "message" }
}
message_type { name: "Ack" field { name: "offset" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL } }
message_type { name: "Session"
	field { name: "location" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
	field { name: "instance" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
	field { name: "id" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL }
	field { name: "auth" number: 4 type: TYPE_UINT64 label: LABEL_OPTIONAL }
}
message_type { name: "Packet"
	field { name: "offset" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL }
	field { name: "data" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL }
}
message_type { name: "Metadata" field { name: "features" number: 1 type: TYPE_UINT64 label: LABEL_REPEATED } }
message_type { name: "Terminate" field { name: "status" number: 1 type: TYPE_MESSAGE type_name: ".google.rpc.Status" label: LABEL_OPTIONAL } }
`

var theMessages = func() protoreflect.MessageDescriptors {
	file := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(theFile), file); err != nil {
		panic(err)
	}
	_ = (*status.Status)(nil).ProtoReflect() // it is in the registry
	f, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	return f.Messages()
}()

// dynamic returns a message that the protobuf runtime codes, from its text.
func dynamic(t *testing.T, name protoreflect.Name, text string) *dynamicpb.Message {
	t.Helper()
	m := dynamicpb.NewMessage(theMessages.ByName(name))
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// again decodes what the protobuf runtime has encoded, encodes it, and has the
// runtime decode that.
func again(t *testing.T, m *dynamicpb.Message, name protoreflect.Name, through any) *dynamicpb.Message {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.Codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, through); err != nil {
		t.Fatalf("%v: %v", m, err)
	}
	switch msg := through.(type) {
	case *wire.Request:
		if msg.Data != nil {
			data, _ := io.ReadAll(msg.Data)
			sent, _ := wire.NewRequest(data)
			msg.Data = sent.Data
		}
	case *wire.Response:
		if msg.Data != nil {
			data, _ := io.ReadAll(msg.Data)
			msg.Data = wire.NewResponse(data).Data
		}
	}
	out, err := wire.Codec.Marshal(through)
	if err != nil {
		t.Fatal(err)
	}
	got := dynamicpb.NewMessage(theMessages.ByName(name))
	if err := proto.Unmarshal(out.Materialize(), got); err != nil {
		t.Fatal(err)
	}
	return got
}

// The messages are what the protobuf runtime makes of the same definition.
func TestTheMessagesAreProtobuf(t *testing.T) {
	t.Parallel()
	const session = `location: "locations/r" instance: "projects/google.com:p/instances/i" id: "x" auth: 2`
	for _, text := range []string{
		``, `ack { }`, `ack { offset: -1 }`, `start { ` + session + ` }`, `ack { offset: 300 } continue { ` + session + ` }`, `start { }`,
		`data { data: "hello" }`, `data { }`, `ack { offset: 9 } data { data: "\x00" }`,
		`terminate { status { code: 1 message: "Client closed connection" } }`, `terminate { status { } }`,
	} {
		m := dynamic(t, "Request", text)
		if got := again(t, m, "Request", new(wire.Request)); !proto.Equal(got, m) {
			t.Errorf("request %s became %v", text, got)
		}
	}
	for _, text := range []string{
		``, `metadata { }`, `metadata { features: [1, 300, 0] }`, `ack { offset: 5 } metadata { features: 1 }`,
		`data { data: "hello" }`, `ack { offset: 5 } data { data: "x" }`,
		`terminate { status { code: 9 message: "no" details { type_url: "x" value: "y" } } }`,
	} {
		m := dynamic(t, "Response", text)
		if got := again(t, m, "Response", new(wire.Response)); !proto.Equal(got, m) {
			t.Errorf("response %s became %v", text, got)
		}
	}
}

// FuzzUnmarshal decodes a message in one piece and byte for byte, as both kinds.
// What the protobuf runtime takes, and has no text that is not UTF-8, is taken
// and has the same data.
func FuzzUnmarshal(f *testing.F) {
	for _, m := range []any{
		&wire.Request{Start: &wire.Session{Location: "locations/r", Instance: "projects/p/instances/i", AuthenticationType: wire.AutoIAM}},
		&wire.Response{Metadata: &wire.Metadata{Features: []uint64{1}}},
		&wire.Response{Terminate: &status.Status{Code: 1, Message: "bye"}},
		wire.NewResponse([]byte("hello")),
	} {
		b, err := wire.Codec.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.Materialize())
	}
	f.Add([]byte("\x22\x07\x08\x05\x12\x03abc"))                           // data with an offset
	f.Add([]byte("\x22\x07\x12\x03abc\x08\x05\x12\x02\x08\x07"))           // an offset and an ack behind data
	f.Add([]byte("\x22\x05\x12\x03abc\x22\x04\x12\x02de"))                 // data twice
	f.Add([]byte("\x9a\x06\x01x\xa0\x06\x05\xad\x06abcd\xb1\x06abcdefgh")) // of kinds to come
	f.Fuzz(func(t *testing.T, in []byte) {
		var bytewise mem.BufferSlice
		for i := range in {
			bytewise = append(bytewise, mem.SliceBuffer(in[i:i+1]))
		}
		var one, many wire.Response
		err := wire.Codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(in)}, &one)
		err2 := wire.Codec.Unmarshal(bytewise, &many)
		data, data2 := rest(one.Data), rest(many.Data)
		if (err == nil) != (err2 == nil) || !bytes.Equal(data, data2) {
			t.Fatalf("at once %q, %v; byte for byte %q, %v", data, err, data2, err2)
		}
		m := dynamicpb.NewMessage(theMessages.ByName("Response"))
		field := m.Descriptor().Fields().ByName("data")
		if proto.Unmarshal(in, m) == nil {
			packet := m.Get(field).Message()
			if err != nil && !hasGroups(m.GetUnknown()) && !hasGroups(packet.GetUnknown()) {
				t.Fatalf("%v is refused: %v", m, err)
			}
			want := packet.Get(packet.Descriptor().Fields().ByName("data")).Bytes()
			if m.Has(field) && len(data) > 0 && !bytes.HasSuffix(want, data) {
				t.Fatalf("data %q, want %q", data, want)
			}
		}
		_ = wire.Codec.Unmarshal(bytewise, new(wire.Request))
	})
}

// hasGroups reports whether some fields are groups, which are refused: a message
// in them could be as deep as it likes.
func hasGroups(b []byte) bool {
	for len(b) > 0 {
		_, typ, size := protowire.ConsumeTag(b)
		if typ == protowire.StartGroupType {
			return true
		}
		b = b[size:]
		b = b[protowire.ConsumeFieldValue(1, typ, b):]
	}
	return false
}

func rest(d *wire.Data) []byte {
	if d == nil {
		return nil
	}
	b, _ := io.ReadAll(d)
	return b
}
