package wire_test

import (
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"a tag without an end":            "\x22\x80",
		"a number without an end":         "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
		"field 0":                         "\x02\x00",
		"a length beyond the end":         "\x22\x05\x12",
		"data beyond the packet":          "\x22\x02\x12\x03abc",
		"field 0 in a packet":             "\x22\x02\x02\x00",
		"a packet that is cut":            "\x22\x02\x08\x80",
		"a field of a packet that is cut": "\x22\x03\x1d\x00\x00",
		"a group":                         "\x9b\x06\x9c\x06",
		"an ack that is cut":              "\x12\x01\x08",
		"an ack without a tag":            "\x12\x01\x80",
		"features that are cut":           "\x1a\x03\x0a\x01\x80",
		"a status that is none":           "\x2a\x03\x0a\x01\x08",
		"a fixed field that is cut":       "\xad\x06abc",
	} {
		if err := wire.Codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(in)}, new(wire.Response)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := wire.Codec.Unmarshal(nil, new(string)); err == nil {
		t.Error("a string is received")
	}
	if _, err := wire.Codec.Marshal(new(string)); err == nil {
		t.Error("a string is sent")
	}
}

func TestSessionsAreNamed(t *testing.T) {
	t.Parallel()
	s := wire.NewSession("google.com:my-project", "europe-west1", "my-db")
	if got, want := s.Name(), "google.com:my-project:europe-west1:my-db"; got != want {
		t.Errorf("name %s, want %s", got, want)
	}
	if got, want := s.RoutingHeader(), "location_id=locations/europe-west1&instance_id=projects/google.com:my-project/instances/my-db"; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	if wire.Codec.Name() != "" {
		t.Error("the content type would have the codec's name")
	}
}
