package bench

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/cloudsqlconn/cloudsqlconn/bench/internal/client"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func newTestKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	wantNil(t, err)
	return key
}

// newSubjects starts a kit with one instance.
func newSubjects(t testing.TB, spec InstanceSpec) []subject {
	t.Helper()
	k, err := startKit()
	wantNil(t, err)
	t.Cleanup(func() { wantNil(t, k.close()) })
	spec.Names = []string{"my-project:europe-west1:my-db"}
	target, err := k.add(spec)
	wantNil(t, err)
	subjects, err := all(target, newTestKey(t))
	wantNil(t, err)
	t.Cleanup(func() { closeAll(subjects) })
	return subjects
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// withCPU reports the client's CPU time of what follows.
func withCPU(b *testing.B, f func()) {
	b.Helper()
	b.ReportAllocs()
	before := cpuTime()
	f()
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

func BenchmarkNewDialer(b *testing.B) {
	t := target{URL: "http://127.0.0.1:1", Instance: "my-project:europe-west1:my-db"}
	for _, name := range connectorNames {
		b.Run("subject="+dashed(name), func(b *testing.B) {
			withCPU(b, func() {
				for b.Loop() {
					s, err := connector(name, t, nil)
					wantNil(b, err)
					s.Close()
				}
			})
		})
	}
}

func BenchmarkWarmDial(b *testing.B) {
	for _, kind := range []struct {
		name string
		spec InstanceSpec
	}{{"full", InstanceSpec{NoTickets: true}}, {"resumed", InstanceSpec{}}} {
		for _, s := range newSubjects(b, kind.spec) {
			b.Run("handshake="+kind.name+"/subject="+dashed(s.Name()), func(b *testing.B) {
				wantNil(b, dialOnce(b.Context(), s))
				withCPU(b, func() {
					for b.Loop() {
						wantNil(b, dialOnce(b.Context(), s))
					}
				})
			})
		}
	}
}

func BenchmarkPingPong(b *testing.B) {
	for _, s := range newSubjects(b, InstanceSpec{}) {
		b.Run("subject="+dashed(s.Name()), func(b *testing.B) {
			c, err := s.Dial(b.Context())
			wantNil(b, err)
			defer c.Close()
			wantNil(b, greet(c))
			message := make([]byte, 100)
			_, err = c.Write(command(cmdEcho, 0, len(message)))
			wantNil(b, err)
			withCPU(b, func() {
				for b.Loop() {
					_, err := c.Write(message)
					wantNil(b, err)
					_, err = io.ReadFull(c, message)
					wantNil(b, err)
				}
			})
		})
	}
}

func BenchmarkStream(b *testing.B) {
	for _, s := range newSubjects(b, InstanceSpec{}) {
		for name, run := range map[string]func(io.ReadWriter, []byte, int) error{"up": upload, "down": download} {
			b.Run("way="+name+"/subject="+dashed(s.Name()), func(b *testing.B) {
				c, err := s.Dial(b.Context())
				wantNil(b, err)
				defer c.Close()
				wantNil(b, greet(c))
				buf := make([]byte, 16<<10)
				b.SetBytes(mib)
				withCPU(b, func() {
					for b.Loop() {
						wantNil(b, run(c, buf, mib))
					}
				})
			})
		}
	}
}

func TestSubjectsReachTheInstance(t *testing.T) {
	t.Parallel()
	for _, s := range newSubjects(t, InstanceSpec{}) {
		c, err := s.Dial(t.Context())
		wantNil(t, err)
		wantNil(t, greet(c))
		wantNil(t, upload(c, make([]byte, 1000), 10_000))
		wantNil(t, download(c, make([]byte, 1000), 10_000))
		wantNil(t, c.Close())
	}
}

func TestColdDialInAProcessOfItsOwn(t *testing.T) {
	t.Parallel()
	k, err := startKit()
	wantNil(t, err)
	defer k.close()
	target, err := k.add(InstanceSpec{Names: []string{"my-project:europe-west1:my-db"}})
	wantNil(t, err)
	wantNil(t, k.setAPI(time.Millisecond, 0))
	for _, name := range connectorNames {
		times, err := runCold(coldTask{Subject: name, Target: target, Key: newTestKey(t)})
		wantNil(t, err)
		if times.Total < time.Millisecond || times.CPU <= 0 {
			t.Errorf("%s: %+v", name, times)
		}
	}
	calls, err := k.calls()
	wantNil(t, err)
	if calls.Calls != 4 {
		t.Errorf("%d calls of the Admin API, want 4", calls.Calls)
	}
}

func TestClientsInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	k, err := startKit()
	wantNil(t, err)
	defer k.close()
	silent, err := k.add(InstanceSpec{Names: []string{"my-project:europe-west1:my-db"}, Silent: true})
	wantNil(t, err)
	dir := t.TempDir()
	today, before := filepath.Join(dir, "today"), filepath.Join(dir, "before")
	wantNil(t, buildClient(t.Context(), ".", today))
	commit, err := commitOf(t.Context(), "HEAD")
	wantNil(t, err)
	wantNil(t, buildClientAt(t.Context(), commit, t.TempDir(), before))
	for name, program := range map[string]string{"today": today, "before": before, "private": today, "peer": today} {
		cfg := silent.config(newTestKey(t))
		cfg.Private, cfg.Peer = name == "private", name == "peer"
		c, err := startClient(name, program, cfg)
		wantNil(t, err)
		if cfg.Peer { // WithAutoIP stays with the public address
			spent, err := c.do(client.Task{Dials: 1, Timeout: 50 * time.Millisecond})
			if _, failed := errors.AsType[*taskError](err); !failed || spent.wall < 50*time.Millisecond {
				t.Errorf("%s: %v after %v", name, err, spent.wall)
			}
			wantNil(t, c.close())
			continue
		}
		_, err = k.calls()
		wantNil(t, err)
		for _, task := range []client.Task{{Dials: 1, Timeout: time.Minute}, {Dials: 2, Timeout: time.Minute}, {Fresh: true, Dials: 1, Timeout: time.Minute}} {
			spent, err := c.do(task)
			wantNil(t, err)
			if spent.wall <= 0 || spent.cpu <= 0 || spent.allocs < 100 || spent.bytes < 100 {
				t.Errorf("%s: %+v", name, spent)
			}
		}
		calls, err := k.calls()
		wantNil(t, err)
		if calls.Calls != 4 {
			t.Errorf("%s: %d calls of the Admin API by two Dialers, want 4", name, calls.Calls)
		}
		wantNil(t, c.close())
	}
	if _, err := commitOf(t.Context(), "no-such-commit"); err == nil {
		t.Error("a commit that there is not has a hash")
	}
}

func TestSpreadIsMedianAndQuartiles(t *testing.T) {
	t.Parallel()
	if got, want := spreadOf([]float64{5, 1, 3, 2, 4}), (spread{3, 2, 4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestConfidenceNarrowsWithTheNumberOfSamples(t *testing.T) {
	t.Parallel()
	samples := func(n int) (v []float64) {
		for i := range n {
			v = append(v, float64(i))
		}
		return v
	}
	for _, tt := range []struct {
		n    int
		want spread
	}{ // the ranks that tables of the binomial distribution give, counted from 0
		{1, spread{0, 0, 0}},
		{5, spread{2, 0, 4}},
		{25, spread{12, 7, 17}},
		{101, spread{50, 40, 60}},
	} {
		if got := confidence(samples(tt.n)); got != tt.want {
			t.Errorf("%d samples: got %v, want %v", tt.n, got, tt.want)
		}
	}
}

func TestASampleBelongsToTheFirstPartThatItsStackMatches(t *testing.T) {
	t.Parallel()
	sample := func(n int64, stack ...string) *profile.Sample {
		s := &profile.Sample{Value: []int64{n}}
		for _, f := range stack {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: f}}}})
		}
		return s
	}
	p := &profile.Profile{Sample: []*profile.Sample{
		sample(50, "crypto/internal/fips140/bigmod.(*Nat).Exp", "crypto/rsa.(*PrivateKey).Sign", "crypto/tls.(*Conn).clientHandshake", "github.com/cloudsqlconn/cloudsqlconn.(*Dialer).Dial"),
		sample(30, "runtime.nextFreeFast", "runtime.mallocgc", "crypto/tls.(*Conn).clientHandshake"),
		sample(20, "time.Now", "github.com/cloudsqlconn/cloudsqlconn/internal/refresh.(*Cache[...]).Get", "github.com/cloudsqlconn/cloudsqlconn/bench.dialOnce"),
		sample(100, "runtime.futex", "github.com/cloudsqlconn/cloudsqlconn/bench.dialOnce"),
	}}
	shares := sharesOf(p)
	for i, part := range parts {
		want := map[string]float64{"signature with the client's RSA key": 0.25, "memory: allocation and garbage collection": 0.15, ownPart: 0.1, "scheduler, benchmark and the rest": 0.5}[part.name]
		if shares[i] != want {
			t.Errorf("%s: %v, want %v", part.name, shares[i], want)
		}
	}
}

func TestAtOnceReturnsTheFirstError(t *testing.T) {
	t.Parallel()
	err := atOnce(4, 100, func(i int) error {
		if i == 50 {
			return context.Canceled
		}
		return nil
	})
	if err != context.Canceled {
		t.Errorf("got %v", err)
	}
}
