package doctor

import (
	"context"
	"io"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
)

// Stream is how a stream of SQL Data is opened.
type Stream struct {
	Addr string // of the service
	Open func(ctx context.Context, to admin.Instance) (StreamConn, error)

	// Elsewhere reports whether an error means that addresses are the way to the
	// instance.
	Elsewhere func(error) bool
}

// StreamConn is a stream.
type StreamConn interface {
	io.ReadWriteCloser
	Answered() bool // the service has said something
}

// stream takes the hops SQL Data and database, and reports whether addresses are
// the way to the instance, since SQL Data does not serve it.
func (w *walk) stream(ctx context.Context, named, authorised bool) (addresses bool) {
	switch {
	case !named:
		w.skip(HopStream, "no instance to ask for")
	case !authorised:
		w.skip(HopStream, "no token")
	}
	if !named || !authorised {
		w.skip(HopDatabase, "no stream")
		return false
	}
	var conn StreamConn
	w.step(ctx, HopStream, w.Stream.Addr, func() (found string, err error) {
		conn, err = w.Stream.Open(ctx, w.target.Instance)
		switch {
		case err != nil:
			return "", err
		case !conn.Answered():
			return "no answer yet, which may come with the first byte", nil
		}
		return "the service accepts the session", nil
	})
	if conn == nil {
		if w.elsewhere() {
			return true
		}
		w.skip(HopDatabase, "no stream")
		return false
	}
	defer func() { _ = conn.Close() }()
	// PostgreSQL is what SQL Data serves. Nothing tells the engine in this way.
	w.step(ctx, HopDatabase, w.Stream.Addr, func() (string, error) { return hear(ctx, conn, conn, greetPostgres) })
	return w.elsewhere()
}

// elsewhere reports whether the last hop has failed since SQL Data does not serve
// the instance, and an address may be taken. It is no failure then.
func (w *walk) elsewhere() bool {
	last := &w.steps[len(w.steps)-1]
	if !w.Stream.Elsewhere(last.Err) {
		return false
	}
	last.Result, last.Detail = Skipped, printable("addresses are tried instead: "+last.cause.Error())
	last.Err, last.cause, last.Hint = nil, nil, ""
	return true
}
