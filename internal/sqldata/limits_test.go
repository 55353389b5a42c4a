package sqldata_test

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata/wire"
)

// zeros is a message of so many bytes of data. It takes no memory where it is
// sent.
type zeros int

// zerosCodec sends zeros, too.
type zerosCodec struct{ encoding.CodecV2 }

var someZeros = mem.SliceBuffer(make([]byte, 1<<20))

func (c zerosCodec) Marshal(v any) (mem.BufferSlice, error) {
	n, ok := v.(zeros)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	const data = 4 // of a response, and 2 the data in it
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.BytesType), uint64(n))
	head := protowire.AppendVarint(protowire.AppendTag(nil, data, protowire.BytesType), uint64(len(inner)+int(n)))
	message := mem.BufferSlice{mem.SliceBuffer(append(head, inner...))}
	for ; n > 0; n -= zeros(len(someZeros)) {
		message = append(message, someZeros[:min(int(n), len(someZeros))])
	}
	return message, nil
}

var sendsZeros = grpc.ForceServerCodecV2(zerosCodec{wire.Codec})

// allocated is how much memory f allocates. Nothing may run beside it.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Google's connector takes the error for the service's being exhausted, and leaves
// the instance alone, for all.
func TestAMessageThatIsTooLargeIsAnErrorAndNoMemory(t *testing.T) {
	for _, tt := range []struct {
		size zeros
		fits bool
	}{{99 << 20, true}, {101 << 20, false}} {
		inWorld(t, func(s stream) error {
			if err := s.start(); err != nil {
				return err
			}
			return s.SendMsg(tt.size)
		}, func(w *world) {
			var (
				n   int64
				err error
			)
			took := allocated(func() {
				c := w.connect()
				n, err = io.Copy(io.Discard, struct{ io.Reader }{c})
				_ = c.Close()
			})
			t.Logf("%d bytes: %d read, %v; %d allocated", tt.size, n, err, took)
			if tt.fits {
				if err != nil || n != int64(tt.size) {
					t.Errorf("read %d bytes, %v", n, err)
				}
				return
			}
			if e, ok := errors.AsType[*sqldata.StatusError](err); !ok || e.Code != codes.OutOfRange || !strings.Contains(e.Message, "more than 100 MiB") {
				t.Errorf("got %v", err)
			}
			if took > 10<<20 {
				t.Errorf("%d bytes were allocated", took)
			}
		}, sendsZeros)
	}
}

// Google's connector sends a message for each Write, which fails above 100 MiB.
func TestAWriteMayBeLargerThanAnyMessage(t *testing.T) {
	t.Parallel()
	const size = 101 << 20
	inWorld(t, func(s stream) error {
		if err := s.start(); err != nil {
			return err
		}
		for left := size; left > 0; {
			m, err := s.recv()
			if err != nil {
				return err
			}
			left -= m.Data.Len()
			m.Data.Free()
		}
		return s.write("all of it")
	}, func(w *world) {
		c := w.connect()
		defer c.Close()
		if n, err := c.Write(make([]byte, size)); n != size || err != nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		wantRead(t, c, "all of it")
	})
}

// liveHeap is what is in use.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what was in a pool outlives the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A message that has begun is taken whole. Apart from that, gRPC takes 64 KiB ahead
// at first, and up to 16 MiB from a service that has been fast.
func TestAFloodThatNobodyReadsIsBounded(t *testing.T) {
	for name, size := range map[string]zeros{"32 KiB": 32 << 10, "1 MiB": 1 << 20, "8 MiB": 8 << 20} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			inWorld(t, func(s stream) error {
				if err := s.start(); err != nil {
					return err
				}
				for {
					if err := s.SendMsg(size); err != nil {
						return err
					}
					sent.Add(int64(size))
				}
			}, func(w *world) {
				before := liveHeap()
				c := w.connect()
				wantHeld := func(ahead int64) {
					t.Helper()
					synctest.Wait()
					stopped := sent.Load()
					time.Sleep(time.Second)
					if stopped == 0 || sent.Load() != stopped {
						t.Errorf("the flood goes on: %d bytes, then %d", stopped, sent.Load())
					}
					held := liveHeap() - before
					t.Logf("%d bytes sent, %d held", stopped, held)
					if most := ahead + 2*int64(size); held > most {
						t.Errorf("%d bytes are held, want %d at most", held, most)
					}
				}
				wantHeld(2 << 20)
				for range 24 { // what was held up comes, and fast
					if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
						t.Fatal(err)
					}
				}
				wantHeld(18 << 20)
				_ = c.Close()
			}, sendsZeros)
		})
	}
}
