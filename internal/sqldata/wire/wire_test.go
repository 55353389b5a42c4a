package wire_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

func TestMessagesComeOutAsTheyWentIn(t *testing.T) {
	t.Parallel()
	ack := int64(1 << 40)
	session := wire.NewSession("google.com:p", "r", "i")
	session.ID, session.AuthenticationType = "id", wire.AutoIAM
	ended := &status.Status{Code: 9, Message: "no"}
	for name, m := range map[string]*wire.Request{
		"start":     {Start: &session},
		"continue":  {Continue: &session, Ack: &ack},
		"terminate": {Terminate: ended},
		"ack":       {Ack: &ack},
		"none":      {},
	} {
		got := new(wire.Request)
		roundtrip(t, m, got)
		if diff := cmp.Diff(m, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	for name, m := range map[string]*wire.Response{
		"metadata":  {Metadata: &wire.Metadata{}},
		"features":  {Metadata: &wire.Metadata{Features: []uint64{wire.Reconnect, 300}}, Ack: &ack},
		"terminate": {Terminate: ended},
		"ack":       {Ack: &ack},
		"none":      {},
	} {
		got := new(wire.Response)
		roundtrip(t, m, got)
		if diff := cmp.Diff(m, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func roundtrip(t *testing.T, in, out any) {
	t.Helper()
	b, err := wire.Codec.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.Codec.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
}

func TestDataIsReadInPieces(t *testing.T) {
	t.Parallel()
	in := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	sent, n := wire.NewRequest(in)
	if n != wire.MaxChunk {
		t.Fatalf("%d bytes in a message, want %d", n, wire.MaxChunk)
	}
	frame, err := wire.Codec.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	whole := frame.Materialize()
	for _, size := range []int{1, 7, 16 << 10, len(whole)} {
		var pieces mem.BufferSlice
		for rest := whole; len(rest) > 0; {
			k := min(size, len(rest))
			pieces = append(pieces, mem.SliceBuffer(rest[:k]))
			rest = rest[k:]
		}
		var got wire.Request
		if err := wire.Codec.Unmarshal(pieces, &got); err != nil {
			t.Fatal(err)
		}
		if got.Data.Len() != n {
			t.Errorf("%d bytes of data, want %d", got.Data.Len(), n)
		}
		out, err := io.ReadAll(got.Data)
		if err != nil || !bytes.Equal(out, in[:n]) {
			t.Errorf("pieces of %d: %d bytes, %v", size, len(out), err)
		}
	}
}

func TestUnknownFieldsAreToldAndPassedOver(t *testing.T) {
	t.Parallel()
	session := protowire.AppendTag(nil, 2, protowire.BytesType)
	session = protowire.AppendString(session, "projects/p/instances/i")
	session = protowire.AppendTag(session, 30, protowire.VarintType)
	session = protowire.AppendVarint(session, 1)
	raw := protowire.AppendTag(nil, 9, protowire.BytesType)
	raw = protowire.AppendString(raw, "the old instance_id")
	raw = protowire.AppendTag(raw, 5, protowire.BytesType)
	raw = protowire.AppendBytes(raw, session)
	got := new(wire.Request)
	roundtrip(t, wire.Raw(raw), got)
	want := &wire.Request{Start: &wire.Session{Instance: "projects/p/instances/i"}, Unknown: []protowire.Number{9, 30}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestDataIsAppendedUpToAChunk(t *testing.T) {
	t.Parallel()
	var want []byte
	m, n := wire.NewRequest([]byte("a"))
	want = append(want, 'a')
	for i := 0; n > 0; i++ {
		piece := bytes.Repeat([]byte{byte(i)}, 1+i*i)
		n = m.Data.Append(piece)
		want = append(want, piece[:n]...)
		if room := m.Data.Room(); room != wire.MaxChunk-len(want) {
			t.Fatalf("room for %d bytes after %d", room, len(want))
		}
	}
	var got wire.Request
	roundtrip(t, m, &got)
	if b, err := io.ReadAll(got.Data); err != nil || !bytes.Equal(b, want) || len(b) != wire.MaxChunk {
		t.Errorf("%d bytes, %v; want %d", len(b), err, len(want))
	}
}
