package door

import (
	"net"
	"sync"
	"time"
)

// joint is a client and the server that it is led to.
type joint struct {
	client, server net.Conn

	once sync.Once
	err  error // the first failure
}

// join passes on what each side sends to the other, and its end. It returns when
// both have ended or one has failed, with how many bytes the client has sent and
// received. A server that has ended serves nobody any more, whereas its client
// may stay for ever: it has a grace. silent is called if the server has ended, or
// failed, before it sent anything.
func join(client, server net.Conn, silent func(error)) (sent, received int64, err error) {
	j := &joint{client: client, server: server}
	var wg sync.WaitGroup
	var last *time.Timer
	wg.Go(func() {
		var err error
		received, err = pass(client, server)
		if received == 0 {
			silent(err)
		}
		j.end(client, err)
		last = time.AfterFunc(grace, j.close)
	})
	sent, err = pass(server, client)
	j.end(server, err)
	wg.Wait()
	last.Stop()
	return sent, received, j.err
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
