package door

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// joint is a client and the server that it is led to.
type joint struct {
	door           *Door
	ctx            context.Context
	client, server net.Conn
	start          time.Time

	up, down way
	going    atomic.Int32 // ways that have not ended
	last     *time.Timer  // the client's grace; set before down ends

	once sync.Once
	err  error // the first failure
}

// join passes on what each side sends to the other, and its end. It returns at
// once, and the connection has ended when both sides have, or one has failed. A
// server that has ended serves nobody any more, whereas its client may stay for
// ever: it has a grace.
func (d *Door) join(ctx context.Context, client, server net.Conn) {
	d.wg.Add(1) // the caller counts until it returns
	j := &joint{door: d, ctx: ctx, client: client, server: server, start: time.Now()}
	j.up = way{to: server, from: client, ended: j.clientEnded}
	j.down = way{to: client, from: server, ended: j.serverEnded}
	j.going.Store(2)
	go j.up.start() // both until their connection ends, or is cut
	go j.down.start()
}

func (j *joint) clientEnded(err error) {
	j.end(j.server, err)
	j.wayEnded()
}

func (j *joint) serverEnded(err error) {
	if j.down.passed == 0 {
		j.door.Silent(j.ctx, j.client, j.server, err)
	}
	j.end(j.client, err)
	j.last = time.AfterFunc(grace, j.close)
	j.wayEnded()
}

// end tells to that the other side has ended, or has failed with err. Where the
// end of one direction cannot be told, both end.
func (j *joint) end(to net.Conn, err error) {
	half, ok := to.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	j.once.Do(func() { j.err = err })
	j.close()
}

func (j *joint) close() {
	_ = j.client.Close()
	_ = j.server.Close()
}

// wayEnded tells the door when the second one has.
func (j *joint) wayEnded() {
	if j.going.Add(-1) > 0 {
		return
	}
	j.last.Stop()
	attrs := []slog.Attr{clientAttr(j.client), slog.Duration("after", time.Since(j.start)), slog.Int64("sent", j.up.passed), slog.Int64("received", j.down.passed)}
	if j.err != nil && !errors.Is(j.err, net.ErrClosed) {
		attrs = append(attrs, slog.String("error", j.err.Error()))
	}
	j.door.Log.LogAttrs(j.ctx, slog.LevelInfo, "connection ended", attrs...)
	j.door.drop(j.server)
	j.door.leave()
	j.door.drop(j.client)
	j.door.wg.Done()
}
