package cloudsqltest_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

func TestStreamReachesTheHandler(t *testing.T) {
	streamsOnBoth(t, cloudsqltest.Instance{}, func(t *testing.T, c *streams) {
		stream := c.open()
		stream.echo()
		wantNil(t, stream.CloseSend())
		stream.wantEnd(codes.Canceled, "DB_CLIENT_CLOSED")
		got := c.last()
		if got.Path != wire.Path || got.Instance != "projects/my-project/instances/my-db" || got.Location != "locations/europe-west1" || got.Timeout != 0 {
			t.Errorf("got %+v", got)
		}
		if got.Messages != 2 || got.Data != 1 || got.Received != 5 || got.Sent != 5 || got.Largest != 5 || !got.Metadata || !got.HalfClosed || got.Canceled || got.Lost || got.Terminated {
			t.Errorf("got %+v", got)
		}
		if len(got.Header["x-goog-user-project"]) != 1 || !strings.HasPrefix(got.Header["user-agent"][0], "the-test/1.0 ") {
			t.Errorf("the header is %v", got.Header)
		}
		if c.p.Counts().Streams != 1 || c.d.Counts().Accepted != 1 {
			t.Errorf("got %+v, %+v", c.p.Counts(), c.d.Counts())
		}
	})
}

func TestStreamLivesForHours(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		stream := c.open()
		for range 3 {
			time.Sleep(5 * time.Hour)
			stream.echo()
		}
	})
}

func TestAnswerAfterHalfCloseArrives(t *testing.T) {
	answer := func(c net.Conn) {
		b, _ := io.ReadAll(c)
		_, _ = io.WriteString(c, "got "+string(b))
	}
	streamsOnBoth(t, cloudsqltest.Instance{Handler: answer}, func(t *testing.T, c *streams) {
		stream := c.open()
		stream.write("all")
		wantNil(t, stream.CloseSend())
		if got := stream.read(7); got != "got all" {
			t.Errorf("got %q", got)
		}
		stream.wantEnd(codes.Canceled, "DB_CLIENT_CLOSED")
	})
}
