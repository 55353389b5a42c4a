package cloudsqltest_test

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

func TestStreamsThatAskWronglyAreRefused(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.s.AddInstance("my-project:europe-west1:large", cloudsqltest.Instance{})
		bearer, good := "Bearer "+c.s.Token(), session()
		routed := func(s wire.Session) []string {
			return []string{"authorization", bearer, "x-goog-request-params", s.RoutingHeader()}
		}
		for name, tt := range map[string]struct {
			headers []string
			first   *wire.Request
			code    codes.Code
			words   string
		}{
			"no token":            {[]string{"x-goog-request-params", good.RoutingHeader()}, nil, codes.Unauthenticated, "credentials"},
			"another token":       {[]string{"authorization", "Bearer x"}, nil, codes.Unauthenticated, "credentials"},
			"the login token":     {[]string{"authorization", "Bearer " + c.s.LoginToken()}, nil, codes.Unauthenticated, "credentials"},
			"no routing header":   {[]string{"authorization", bearer}, &wire.Request{Start: &good}, codes.InvalidArgument, "0 times"},
			"two routing headers": {append(routed(good), "x-goog-request-params", good.RoutingHeader()), &wire.Request{Start: &good}, codes.InvalidArgument, "2 times"},
			"another's header":    {routed(wire.NewSession("my-project", "europe-west1", "other")), &wire.Request{Start: &good}, codes.InvalidArgument, "start_session"},
			"half a header":       {[]string{"authorization", bearer, "x-goog-request-params", "instance_id=" + good.Instance}, &wire.Request{Start: &good}, codes.InvalidArgument, "location_id"},
			"another region":      {nil, start("my-project", "us-east1", "my-db"), codes.NotFound, "instance"},
			"another instance":    {nil, start("my-project", "europe-west1", "other"), codes.NotFound, "instance"},
			"another project":     {nil, start("their-project", "europe-west1", "my-db"), codes.PermissionDenied, "authorized"},
			"not a path":          {nil, &wire.Request{Start: &wire.Session{Location: "locations/x", Instance: "my-db"}}, codes.InvalidArgument, "instance_id"},
			"another edition":     {nil, start("my-project", "europe-west1", "large"), codes.FailedPrecondition, "unsupported instance edition"},
			"no start_session":    {routed(good), &wire.Request{}, codes.InvalidArgument, "first message"},
			"continue_session":    {routed(good), &wire.Request{Continue: &good}, codes.Internal, "RECONNECT_FAILED"},
		} {
			if tt.headers == nil {
				tt.headers = routed(*tt.first.Start)
			}
			stream := c.call(tt.headers...)
			if tt.first != nil {
				_ = stream.SendMsg(tt.first)
			}
			t.Log(name)
			stream.wantEnd(tt.code, tt.words)
		}
		stream := c.call(routed(good)...)
		wantNil(t, stream.CloseSend())
		stream.wantEnd(codes.InvalidArgument, "no messages")
		if n := c.p.Counts().Streams; n != 0 {
			t.Errorf("%d streams have reached the instance", n)
		}
		c.open().echo()
	})
}

func start(project, region, instance string) *wire.Request {
	s := wire.NewSession(project, region, instance)
	return &wire.Request{Start: &s}
}

func TestEscapedRoutingHeaderIsAccepted(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.s.AddInstance("example.com:p:europe-west1:i", cloudsqltest.Instance{SQLData: true})
		s := wire.NewSession("example.com:p", "europe-west1", "i")
		for _, header := range []string{
			"instance_id=projects/example.com:p/instances/i&location_id=locations/europe-west1",
			"location_id=locations%2Feurope-west1&instance_id=projects%2Fexample.com%3Ap%2Finstances%2Fi",
		} {
			stream := c.call("authorization", "bearer "+c.s.Token(), "x-goog-request-params", header)
			stream.send(&wire.Request{Start: &s})
			if stream.receive().Metadata == nil {
				t.Errorf("no metadata with %s", header)
			}
			stream.echo()
		}
	})
}

func TestOtherMethodsAreUnimplementedAndSeen(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		raw, err := c.cc.NewStream(t.Context(), &wire.Desc, "/google.cloud.sql.v1.SqlDataService/StreamSqlData")
		wantNil(t, err)
		(&rawStream{t, raw, nil}).wantEnd(codes.Unimplemented)
		if got := c.last(); got.Path != "/google.cloud.sql.v1.SqlDataService/StreamSqlData" || got.Status.Code() != codes.Unimplemented {
			t.Errorf("the record is %+v", got)
		}
	})
}

func TestWhatClientsSendIsRecorded(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.s.MaxRequests = 2
		c.open()
		c.open()
		s := session()
		stream := c.call("authorization", "Bearer "+c.s.Token(), "x-goog-request-params", s.RoutingHeader(), "x-goog-user-project", "a", "x-goog-user-project", "b")
		b := protowire.AppendTag(nil, 1, protowire.BytesType)
		b = protowire.AppendString(b, s.Location)
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, s.Instance)
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendString(b, "an id")
		b = protowire.AppendTag(b, 4, protowire.VarintType)
		b = protowire.AppendVarint(b, 2)
		b = protowire.AppendTag(b, 30, protowire.VarintType) // what nobody knows
		b = protowire.AppendVarint(b, 1)
		m := protowire.AppendTag(nil, 9, protowire.BytesType) // the old instance_id
		m = protowire.AppendString(m, "my-db")
		m = protowire.AppendTag(m, 5, protowire.BytesType)
		wantNil(t, stream.SendMsg(wire.Raw(protowire.AppendBytes(m, b))))
		received := int64(7)
		stream.send(&wire.Request{Ack: &received})
		for range 3 {
			stream.write("four")
		}
		b = protowire.AppendTag(nil, 1, protowire.VarintType)
		b = protowire.AppendVarint(b, 12) // an offset
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, "and six")
		m = protowire.AppendTag(nil, 7, protowire.BytesType)
		wantNil(t, stream.SendMsg(wire.Raw(protowire.AppendBytes(m, b))))
		stream.receive()
		stream.read(19)
		got := c.last()
		if got.SessionID != "an id" || got.AuthenticationType != 2 || got.Acks != 1 || got.Messages != 6 || got.Data != 4 || got.Received != 19 || got.Largest != 7 || got.Offset != 12 {
			t.Errorf("the record is %+v", got)
		}
		if !slices.Equal(got.Unknown, []int32{9, 30}) || len(got.Header["x-goog-user-project"]) != 2 {
			t.Errorf("unknown fields %v, header %v", got.Unknown, got.Header)
		}
		if n := len(c.d.Streams()); n != 2 {
			t.Errorf("%d records are kept, want 2", n)
		}
	})
}

func TestStreamLogsInWithItsAPIToken(t *testing.T) {
	who := func(c net.Conn) {
		_, _ = io.WriteString(c, "token "+c.(*cloudsqltest.StreamConn).Token()+"\n")
		_, _ = io.Copy(c, c)
	}
	streamsInMemory(t, cloudsqltest.Instance{Handler: who}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		c.s.Principals = map[string]string{"ann-token": ann}
		iam := session()
		iam.AuthenticationType = wire.AutoIAM
		login := func(s wire.Session, token, user string) *rawStream {
			stream := c.call("authorization", "Bearer "+token, "x-goog-request-params", s.RoutingHeader())
			stream.send(&wire.Request{Start: &s})
			if stream.receive().Metadata == nil {
				t.Error("no metadata")
			}
			stream.write(startup(user))
			return stream
		}
		for _, tt := range []struct {
			session           wire.Session
			token, user, want string
		}{
			{session(), "ann-token", "bob", "token \n"},
			{iam, "ann-token", ann, "token ann-token\n"},
			{iam, c.s.Token(), "bob", "token " + c.s.Token() + "\n"},
		} {
			want := tt.want + startup(tt.user)
			if got := login(tt.session, tt.token, tt.user).read(len(want)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		stream := login(iam, "ann-token", "bob")
		want := "token ann-token\n"
		stream.read(len(want))
		stream.wantRefusal(`Cloud SQL IAM user authentication failed for user "bob"`)
		stream.wantEnd(codes.Canceled, "DB_SERVER_CLOSED")
		synctest.Wait()
		if n := c.p.Counts().Denied; n != 1 {
			t.Errorf("%d logins denied", n)
		}
	})
}

func (s *rawStream) wantRefusal(text string) {
	s.t.Helper()
	if got := s.read(len(text)); !strings.Contains(got, text) {
		s.t.Errorf("got %q, want %q", got, text)
	}
}

func TestStreamGoesToTheBackendThatTheLoginIsFor(t *testing.T) {
	t.Parallel()
	cfg := cloudsqltest.Instance{
		Backend:    backend(t, "tcp", "127.0.0.1:0", quoting("password ")),
		IAMBackend: backend(t, "tcp", "127.0.0.1:0", quoting("IAM ")),
	}
	c := newStreams(t, cloudsqltest.NewServer(), cfg, cloudsqltest.SQLDataConfig{})
	defer c.close()
	for want, kind := range map[string]uint64{"password me": 0, "IAM me": wire.AutoIAM, "password you": 1} {
		s := session()
		s.AuthenticationType = kind
		stream := c.start(s)
		stream.receive()
		_, word, _ := strings.Cut(want, " ")
		stream.write(word)
		wantNil(t, stream.CloseSend())
		if got := stream.read(len(want)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		stream.wantEnd(codes.Canceled, "DB_CLIENT_CLOSED")
	}
}

func TestOptionsLeadADialerToSQLData(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		d, err := cloudsqlconn.NewDialer(t.Context(), c.s.Options()...)
		wantNil(t, err)
		wantNil(t, d.Close())
		for _, addr := range []string{c.d.Addr().String(), "localhost:443", "sqladmin.googleapis.com:443"} {
			conn, err := c.s.DialContext(t.Context(), "tcp", addr)
			wantNil(t, err)
			wantNil(t, conn.Close())
		}
		if !strings.HasPrefix(c.d.Endpoint(), "http://") {
			t.Errorf("the endpoint is %s", c.d.Endpoint())
		}
	})
}
