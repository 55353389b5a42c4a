package cloudsqltest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// greeting is the code under test.
func greeting(ctx context.Context, dialer *cloudsqlconn.Dialer) (string, error) {
	conn, err := dialer.Dial(ctx, "my-project:europe-west1:my-db")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	return line, err
}

// The code under test reaches an emulated instance through a real Dialer: real
// certificates, real TLS, and nothing of Google.
func ExampleServer() {
	server := cloudsqltest.NewServer()
	defer server.Close()
	server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{
		// A real database would be Backend: "127.0.0.1:5432".
		Handler: func(conn net.Conn) { _, _ = io.WriteString(conn, "Hello from my-db\n") },
	})

	ctx := context.Background()
	dialer, err := cloudsqlconn.NewDialer(ctx, server.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	line, err := greeting(ctx, dialer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(line)
	// Output: Hello from my-db
}

// The Admin API is unavailable for two requests, then good again.
func ExampleFault() {
	server := cloudsqltest.NewServer()
	defer server.Close()
	instance := server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{
		Handler: func(conn net.Conn) { _, _ = io.WriteString(conn, "Hello from my-db\n") },
	})
	outage := &cloudsqltest.Fault{Status: http.StatusServiceUnavailable, Times: 2}
	server.OnRequest = func(*http.Request) *cloudsqltest.Fault { return outage }

	ctx := context.Background()
	dialer, err := cloudsqlconn.NewDialer(ctx, server.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()

	line, err := greeting(ctx, dialer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(line)
	fmt.Println("refused requests:", server.Hits(outage))
	fmt.Println("good handshakes:", instance.Counts().Handshakes)
	// Output:
	// Hello from my-db
	// refused requests: 2
	// good handshakes: 1
}

// On fake time an hour takes no time. This is a test and not an example, since
// testing/synctest asks for a *testing.T.
func TestExampleOfFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cloudsqltest.NewMemoryServer()
		defer server.Close()
		server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{
			Handler: func(conn net.Conn) { _, _ = io.WriteString(conn, "Hello from my-db\n") },
		})
		var down atomic.Bool
		outage := &cloudsqltest.Fault{Status: http.StatusServiceUnavailable}
		server.OnRequest = func(*http.Request) *cloudsqltest.Fault {
			if down.Load() {
				return outage
			}
			return nil
		}
		dialer, err := cloudsqlconn.NewDialer(t.Context(), server.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer dialer.Close()
		if _, err := greeting(t.Context(), dialer); err != nil {
			t.Fatal(err)
		}

		// The certificate is good for an hour. While the Admin API is down it
		// serves to the end.
		down.Store(true)
		time.Sleep(59 * time.Minute)
		if _, err := greeting(t.Context(), dialer); err != nil {
			t.Fatal(err)
		}
		if server.Hits(outage) == 0 {
			t.Error("the outage did not happen")
		}
	})
}

// An instance refuses all certificates of before, as after a rotation of its
// client CA; the next connection has a new one.
func ExampleEmulatedInstance_RotateClientCA() {
	server := cloudsqltest.NewServer()
	defer server.Close()
	instance := server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{
		Handler: func(conn net.Conn) { _, _ = io.WriteString(conn, "Hello from my-db\n") },
	})
	ctx := context.Background()
	dialer, err := cloudsqlconn.NewDialer(ctx, server.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	defer dialer.Close()
	if err := dialer.Warmup(ctx, "my-project:europe-west1:my-db"); err != nil {
		log.Fatal(err)
	}

	instance.RotateClientCA()
	for range 2 {
		line, err := greeting(ctx, dialer)
		fmt.Printf("%q, failed: %v\n", line, err != nil)
	}
	fmt.Println("rejected:", instance.Counts().Rejected)
	// Output:
	// "", failed: true
	// "Hello from my-db\n", failed: false
	// rejected: 1
}
