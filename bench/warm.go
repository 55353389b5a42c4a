package bench

import (
	"context"
	"fmt"
)

// warm measures Dial, first byte, Close with everything known: full handshakes
// and resumed ones.
func warm(ctx context.Context, r *run) error {
	for _, resumed := range []bool{false, true} {
		if err := warmHandshake(ctx, r, resumed); err != nil {
			return err
		}
	}
	return nil
}

func warmHandshake(ctx context.Context, r *run, resumed bool) error {
	subjects, err := r.subjects(InstanceSpec{NoTickets: !resumed})
	if err != nil {
		return err
	}
	defer closeAll(subjects)
	const n = 50
	costs, err := interleave(r.pick(20, 200), subjects, func(s subject) (cost, error) {
		return measure(n, func() error {
			for range n {
				if err := dialOnce(ctx, s); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	kind := "full"
	if resumed {
		kind = "resumed"
	}
	r.lines("WarmDial/handshake="+kind, n, costs)
	r.section("Warm Dial, "+kind+" handshake",
		"Dial, the server's first byte, Close, one after the other. RSA keys of 2048 bits on both sides.")
	r.text(sentences(costs, peerName, bareName))
	r.plot(barPlot{"warm-" + kind, "Warm Dial, " + kind + " handshake", "µs", []group{
		barsOf("wall time", subjectNames, costs, wallOf), barsOf("client CPU", subjectNames, costs, cpuOf),
	}})
	r.costTable(costs, wallOf, cpuOf, allocsOf, bytesOf)
	if resumed {
		resumedBar(r, costs)
		return nil
	}
	cpu := confidence(ratios(costs[oursName], costs[bareName], cpuOf))
	r.bar("warm Dial, full handshake: client CPU", "≤ 1.03 × bare", fmt.Sprintf("%s (Google's %s), with 95 %% intervals",
		times(cpu), times(confidence(ratios(costs[peerName], costs[bareName], cpuOf)))), cpu.median <= 1.03)
	more := func(name string) float64 {
		return spreadOf(values(costs[name], allocsOf)).median - spreadOf(values(costs[bareName], allocsOf)).median
	}
	r.bar("warm Dial, full handshake: allocations", "≤ bare + 30",
		fmt.Sprintf("bare %+.0f (Google's %+.0f)", more(oursName), more(peerName)), more(oursName) <= 30)
	return nil
}

func resumedBar(r *run, costs map[string][]cost) {
	toPeer := func(name string, pick func(cost) float64) spread { return ratio(costs[name], costs[peerName], pick) }
	wall, cpu := toPeer(oursName, wallOf), toPeer(oursName, cpuOf)
	met := wall.median <= 0.3 && cpu.median <= 0.3
	r.bar("warm Dial, server that issues tickets", "≤ 0.3 × Google's wall time and client CPU",
		fmt.Sprintf("wall %s, CPU %s (bare %s, %s)", times(wall), times(cpu), times(toPeer(bareName, wallOf)), times(toPeer(bareName, cpuOf))), met)
	if floor := toPeer(bareName, cpuOf).median; !met && floor > 0.3 {
		r.reason(fmt.Sprintf(`A resumed handshake saves the client's RSA signature and the verification of the server's. What is left is crypto/tls itself:
the key exchange, the records, and the system calls of a TCP connection; the profiles below show them. Bare crypto/tls needs
%.2f of Google's CPU on this machine for that, and ours is %.3f × bare. A key exchange without ML-KEM would be cheaper, but
what somebody records today could be read with a quantum computer.`, floor, ratio(costs[oursName], costs[bareName], cpuOf).median))
	}
}

// dialsAtOnce measures warm Dials from many goroutines.
func dialsAtOnce(ctx context.Context, r *run) error {
	subjects, err := r.subjects(InstanceSpec{NoTickets: true})
	if err != nil {
		return err
	}
	defer closeAll(subjects)
	r.section("Dials at once", "Warm, full handshakes, from so many goroutines; wall time divided by the number of Dials.")
	for _, goroutines := range []int{1, 16, 256} {
		n := 256
		costs, err := interleave(r.pick(3, 11), subjects, func(s subject) (cost, error) {
			return measure(n, func() error {
				return atOnce(goroutines, n, func(int) error { return dialOnce(ctx, s) })
			})
		})
		if err != nil {
			return err
		}
		r.lines(fmt.Sprintf("DialsAtOnce/goroutines=%d", goroutines), n, costs)
		r.text(fmt.Sprintf("%d at once. %s", goroutines, sentences(costs, peerName, bareName)))
		r.costTable(costs, wallOf, cpuOf)
	}
	return nil
}
