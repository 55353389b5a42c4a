package faults_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn"
)

// Like a file on a server that is gone: opening and reading it ends with no
// context. A look-up held everybody for as long as that took. Issue 13, 9b.
func TestAFileThatCannotBeReadHoldsNobody(t *testing.T) {
	for name, call := range lookups {
		t.Run(name, func(t *testing.T) {
			g := newGoogle(t)
			fifo := filepath.Join(t.TempDir(), "key.json")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			d := g.dialer(t, cloudsqlconn.WithCredentialsFile(fifo))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 2)
			go func() { failed <- call(ctx, d) }()
			writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for the reader
			if err != nil {
				t.Fatal(err)
			}
			defer writer.Close()
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the caller's own context error", err)
			}
			go func() { failed <- call(context.Background(), d) }()
			_ = d.Close()
			if err := <-failed; !errors.Is(err, cloudsqlconn.ErrDialerClosed) {
				t.Errorf("got %v, want ErrDialerClosed", err)
			}
		})
	}
}
