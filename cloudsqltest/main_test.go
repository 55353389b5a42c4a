package cloudsqltest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"os"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

const instanceName = "my-project:europe-west1:my-db"

// clientKey is the key of all clients here. Making one takes long.
var clientKey = must(rsa.GenerateKey(rand.Reader, 2048))

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func wantNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inMemory runs a test on fake time.
func inMemory(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, c *client)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, cloudsqltest.NewMemoryServer(), cfg)
		defer c.s.Close()
		test(t, c)
	})
}

// onLoopback runs a test on real sockets.
func onLoopback(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, c *client)) {
	t.Helper()
	t.Parallel()
	c := newClient(t, cloudsqltest.NewServer(), cfg)
	defer c.s.Close()
	test(t, c)
}

// onBoth runs a test in memory and on loopback.
func onBoth(t *testing.T, cfg cloudsqltest.Instance, test func(t *testing.T, c *client)) {
	t.Run("memory", func(t *testing.T) { inMemory(t, cfg, test) })
	t.Run("loopback", func(t *testing.T) { onLoopback(t, cfg, test) })
}

// eventually returns when got returns want.
func eventually[T comparable](got func() T, want T) {
	for got() != want {
		runtime.Gosched()
	}
}
