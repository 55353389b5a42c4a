package sqldata_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

func TestWhatARefusalMeans(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code     codes.Code
		text     string
		details  []protoadapt.MessageV1
		reason   string
		after    time.Duration
		unserved bool
		want     string
	}{
		"edition": {
			code: codes.FailedPrecondition, text: "unsupported instance edition: ENTERPRISE", unserved: true,
			want: "FailedPrecondition: unsupported instance edition: ENTERPRISE",
		},
		"edition without colon": {code: codes.FailedPrecondition, text: "unsupported instance edition", unserved: true, want: "FailedPrecondition: unsupported instance edition"},
		"reason only": {
			code: codes.FailedPrecondition, text: "no", details: []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: wire.UnsupportedType}}, unserved: true,
			reason: wire.UnsupportedType, want: "FailedPrecondition: no (" + wire.UnsupportedType + ")",
		},
		"reason in the text": {
			code: codes.FailedPrecondition, text: wire.UnsupportedType + ": no", unserved: true,
			reason: wire.UnsupportedType, want: "FailedPrecondition: " + wire.UnsupportedType + ": no",
		},
		"tunnel":       {code: codes.FailedPrecondition, text: wire.TunnelRefusal, unserved: true, want: "FailedPrecondition: " + wire.TunnelRefusal},
		"another text": {code: codes.FailedPrecondition, text: "stopped", want: "FailedPrecondition: stopped"},
		"another code": {code: codes.Unavailable, text: "unsupported instance edition", want: "Unavailable: unsupported instance edition"},
		"a wrong ack":  {code: codes.FailedPrecondition, text: "unsupported instance edition " + wire.InvalidAck, reason: wire.InvalidAck, want: "FailedPrecondition: unsupported instance edition " + wire.InvalidAck},
		"try again": {
			code: codes.ResourceExhausted, text: "busy", details: []protoadapt.MessageV1{&errdetails.RetryInfo{RetryDelay: durationpb.New(9 * time.Second)}},
			after: 9 * time.Second, want: "ResourceExhausted: busy",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := status.New(tt.code, tt.text).WithDetails(tt.details...)
			if err != nil {
				t.Fatal(err)
			}
			inWorld(t, func(stream) error { return s.Err() }, func(w *world) {
				_, err := w.client.Open(w.t.Context(), session, w.route)
				e, ok := errors.AsType[*sqldata.StatusError](err)
				if !ok || e.Code != tt.code || e.Message != tt.text || e.Reason != tt.reason || e.RetryAfter != tt.after || e.Unserved() != tt.unserved || e.Error() != tt.want {
					t.Errorf("got %+v", e)
				}
				if got := status.Convert(err); got.Code() != tt.code || len(got.Details()) != len(tt.details) {
					t.Errorf("the status is lost: %v", got)
				}
			})
		})
	}
}
