package memnet

import (
	"io"
	"sync"
	"testing"
)

// go test -bench . -count 10 ./internal/test/memnet
func BenchmarkCopy(b *testing.B) {
	for _, network := range []string{"memnet", "tcp"} {
		b.Run(network, func(b *testing.B) {
			from, to := pair(b, network)
			chunk := make([]byte, 32<<10)
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{to}, make([]byte, 32<<10)) })
			for b.Loop() {
				from.Write(chunk)
			}
			from.Close()
		})
	}
}

func BenchmarkPingPong(b *testing.B) {
	for _, network := range []string{"memnet", "tcp"} {
		b.Run(network, func(b *testing.B) {
			client, server := pair(b, network)
			b.ReportAllocs()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() { io.CopyBuffer(struct{ io.Writer }{server}, struct{ io.Reader }{server}, make([]byte, 1024)) })
			message := make([]byte, 128)
			for b.Loop() {
				client.Write(message)
				io.ReadFull(client, message)
			}
			client.Close()
		})
	}
}
