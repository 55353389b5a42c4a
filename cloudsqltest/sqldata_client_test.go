package cloudsqltest_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// streams is a client of SQL Data reduced to gRPC.
type streams struct {
	t  *testing.T
	s  *cloudsqltest.Server
	d  *cloudsqltest.SQLData
	p  *cloudsqltest.EmulatedInstance
	cc *grpc.ClientConn
}

func session() wire.Session { return wire.NewSession("my-project", "europe-west1", "my-db") }

func newStreams(t *testing.T, s *cloudsqltest.Server, cfg cloudsqltest.Instance, sql cloudsqltest.SQLDataConfig, opts ...grpc.DialOption) *streams {
	cfg.SQLData = true
	c := &streams{t: t, s: s, d: s.ServeSQLData(sql), p: s.AddInstance(instanceName, cfg)}
	c.cc = c.connect(opts...)
	return c
}

// connect makes an HTTP/2 connection of its own.
func (c *streams) connect(opts ...grpc.DialOption) *grpc.ClientConn {
	c.t.Helper()
	security := insecure.NewCredentials()
	if c.d.CA() != "" {
		security = credentials.NewClientTLSFromCert(c.d.RootCAs(), "")
	}
	cc, err := grpc.NewClient("passthrough:///"+c.d.Addr().String(), append([]grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return c.s.DialContext(ctx, "tcp", addr) }),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec), grpc.MaxCallRecvMsgSize(200<<20)),
		grpc.WithUserAgent("the-test/1.0"),
	}, opts...)...)
	wantNil(c.t, err)
	return cc
}

// reconnect leaves the connection for another one.
func (c *streams) reconnect(opts ...grpc.DialOption) {
	c.t.Helper()
	_ = c.cc.Close()
	c.cc = c.connect(opts...)
}

// close ends the client, and the server.
func (c *streams) close() {
	_ = c.cc.Close()
	c.s.Close()
}

// rawStream is a stream as the test holds it.
type rawStream struct {
	t *testing.T
	grpc.ClientStream
	cancel context.CancelFunc
}

// call opens a stream, and sends nothing. The headers are in pairs.
func (c *streams) call(headers ...string) *rawStream {
	c.t.Helper()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(c.t.Context(), headers...))
	c.t.Cleanup(cancel)
	stream, err := c.cc.NewStream(ctx, &wire.Desc, wire.Path)
	wantNil(c.t, err)
	return &rawStream{c.t, stream, cancel}
}

// start opens a stream with all that the service wants.
func (c *streams) start(s wire.Session) *rawStream {
	c.t.Helper()
	stream := c.call("authorization", "Bearer "+c.s.Token(), "x-goog-request-params", s.RoutingHeader(), "x-goog-user-project", "payer")
	stream.send(&wire.Request{Start: &s})
	return stream
}

// open is start, and waits for the metadata.
func (c *streams) open() *rawStream {
	c.t.Helper()
	stream := c.start(session())
	if m := stream.receive(); m.Metadata == nil {
		c.t.Fatalf("the first message is %+v, want the metadata", m)
	}
	return stream
}

func (s *rawStream) send(m *wire.Request) {
	s.t.Helper()
	wantNil(s.t, s.SendMsg(m))
}

func (s *rawStream) write(text string) {
	s.t.Helper()
	m, n := wire.NewRequest([]byte(text))
	if n != len(text) {
		s.t.Fatal("the text is too long")
	}
	s.send(m)
}

func (s *rawStream) receive() *wire.Response {
	s.t.Helper()
	m := new(wire.Response)
	wantNil(s.t, s.RecvMsg(m))
	return m
}

// read reads messages with data until there are n bytes of it.
func (s *rawStream) read(n int) string {
	s.t.Helper()
	var b strings.Builder
	for b.Len() < n {
		m := s.receive()
		if m.Data == nil {
			s.t.Fatalf("got %+v, want data", m)
		}
		_, err := io.Copy(&b, m.Data)
		wantNil(s.t, err)
	}
	return b.String()
}

// echo proves that the stream works.
func (s *rawStream) echo() {
	s.t.Helper()
	s.write("hello")
	if got := s.read(5); got != "hello" {
		s.t.Fatalf("echo returned %q", got)
	}
}

// wantEnd reads until the stream ends, and checks how: by a code, and a word in
// the text or the details.
func (s *rawStream) wantEnd(code codes.Code, words ...string) *status.Status {
	s.t.Helper()
	var err error
	for err == nil {
		err = s.RecvMsg(new(wire.Response))
	}
	if err == io.EOF {
		err = nil
	}
	got := status.Convert(err)
	text := got.Proto().String()
	for _, word := range words {
		if !strings.Contains(text, word) {
			s.t.Errorf("the stream ended with %v, want %q in it", text, word)
		}
	}
	if got.Code() != code {
		s.t.Errorf("the stream ended with %v, want %v", got, code)
	}
	return got
}

// last returns the record of the last stream.
func (c *streams) last() cloudsqltest.Stream {
	c.t.Helper()
	all := c.d.Streams()
	if len(all) == 0 {
		c.t.Fatal("no stream")
	}
	return all[len(all)-1]
}

// wantHits proves that a fault has happened.
func (c *streams) wantHits(f *cloudsqltest.StreamFault, want int) {
	c.t.Helper()
	if got := c.d.Hits(f); got != want {
		c.t.Errorf("%d streams have met the fault, want %d", got, want)
	}
}

// streamsInMemory runs a test on fake time.
func streamsInMemory(t *testing.T, cfg cloudsqltest.Instance, sql cloudsqltest.SQLDataConfig, test func(t *testing.T, c *streams)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newStreams(t, cloudsqltest.NewMemoryServer(), cfg, sql)
		defer c.close()
		test(t, c)
	})
}

// streamsOnBoth runs a test in memory and on loopback, in clear and with TLS.
func streamsOnBoth(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, c *streams)) {
	for name, sql := range map[string]cloudsqltest.SQLDataConfig{"clear": {}, "TLS": {TLS: true}} {
		t.Run("memory "+name, func(t *testing.T) { streamsInMemory(t, cfg, sql, test) })
		t.Run("loopback "+name, func(t *testing.T) {
			t.Parallel()
			c := newStreams(t, cloudsqltest.NewServer(), cfg, sql)
			defer c.close()
			test(t, c)
		})
	}
}

// took checks how long something took on fake time.
func took(t *testing.T, since time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(since); got != want {
		t.Errorf("it took %v, want %v", got, want)
	}
}
