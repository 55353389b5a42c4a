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
	subjects, err := r.subjects(InstanceSpec{})
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

	rounds, piece := r.pick(128, 512), 2*mib
	r.section("Streaming", fmt.Sprintf("%d MiB each way and for each size of Write (and of Read), in pieces of %d MiB that take turns. Times are for one MiB. The bar is met if the median of all is, and if none of the four is certainly below it.",
		rounds*piece/mib, piece/mib))
	var all []float64 // ratios of time, ours to bare
	var worst spread
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
			r.text(fmt.Sprintf("%s, %d KiB. %s", capital(w.name), size>>10, sentences(costs, peerName, bareName)))
			r.costTable(costs, wallOf, cpuOf)
			these := ratios(costs[oursName], costs[bareName], wallOf)
			all = append(all, these...)
			if x := confidence(these); x.median > worst.median {
				worst = x
			}
		}
	}
	throughput := inverse(confidence(all))
	r.bar("streaming", "≥ 0.98 × bare tls.Conn", fmt.Sprintf("throughput %s, with its 95 %% interval; the worst of the four alone %s",
		times(throughput), times(inverse(worst))), inverse(worst).high >= 0.98 && throughput.median >= 0.98)
	return pingPong(r, subjects, conns)
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
