package bench

import (
	"context"
	"fmt"
	"io"
	"net"
)

const mib = 1 << 20

// transfers measures open connections: bulk data each way, and short messages
// there and back.
func transfers(ctx context.Context, r *run) error {
	t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}})
	if err != nil {
		return err
	}
	subjects, err := all(t, r.key)
	if err != nil {
		return err
	}
	defer closeAll(subjects)
	conns := map[string]net.Conn{}
	for _, s := range subjects {
		c, err := s.Dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := greet(c); err != nil {
			return err
		}
		conns[s.Name()] = c
	}

	rounds, piece := r.pick(32, 128), 8*mib
	r.section("Streaming", fmt.Sprintf("%d MiB each way and for each size of Write (and of Read), in pieces of %d MiB that take turns. Times are for one MiB.",
		rounds*piece/mib, piece/mib))
	worst := spread{}
	for _, w := range []struct {
		name string
		run  func(c io.ReadWriter, buf []byte, total int) error
	}{{"to the server", upload}, {"from the server", download}} {
		for _, size := range []int{16 << 10, mib} {
			buf := make([]byte, size)
			costs, err := interleave(rounds, subjects, func(s subject) (cost, error) {
				return measure(piece/mib, func() error { return w.run(conns[s.Name()], buf, piece) })
			})
			if err != nil {
				return err
			}
			r.lines(fmt.Sprintf("Stream/way=%q/size=%d", w.name, size), piece/mib, costs)
			r.text(fmt.Sprintf("%s, %d KiB:", w.name, size>>10))
			r.costTable(costs, wallOf, cpuOf)
			if x := ratio(costs[oursName], costs[bareName], wallOf); x.median > worst.median {
				worst = x
			}
		}
	}
	r.bar("streaming", "≥ 0.98 × bare tls.Conn", "throughput "+times(inverse(worst))+", the worst of four", inverse(worst).median >= 0.98)
	return pingPong(r, subjects, conns)
}

// pingPong is the last: there is no command after it.
func pingPong(r *run, subjects []subject, conns map[string]net.Conn) error {
	message := make([]byte, 100)
	for _, c := range conns {
		if _, err := c.Write(command(cmdEcho, 0, len(message))); err != nil {
			return err
		}
	}
	n := r.pick(1000, 2000)
	costs, err := interleave(r.pick(15, 61), subjects, func(s subject) (cost, error) {
		c := conns[s.Name()]
		return measure(n, func() error {
			for range n {
				if _, err := c.Write(message); err != nil {
					return err
				}
				if _, err := io.ReadFull(c, message); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	r.lines("PingPong", n, costs)
	r.section("Ping-pong", "100 bytes there and back, one message at a time.")
	r.costTable(costs, wallOf, cpuOf, allocsOf)
	rate := inverse(ratio(costs[oursName], costs[bareName], wallOf))
	r.bar("ping-pong", "≥ 0.98 × bare tls.Conn", "rate "+times(rate), rate.median >= 0.98)
	return nil
}

func upload(c io.ReadWriter, buf []byte, total int) error {
	if _, err := c.Write(command(cmdDiscard, total, 256<<10)); err != nil {
		return err
	}
	for range total / len(buf) {
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
	return greet(c)
}

func download(c io.ReadWriter, buf []byte, total int) error {
	if _, err := c.Write(command(cmdSend, total, len(buf))); err != nil {
		return err
	}
	for left := total; left > 0; {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func inverse(s spread) spread { return spread{1 / s.median, 1 / s.high, 1 / s.low} }
