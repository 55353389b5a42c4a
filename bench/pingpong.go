package bench

import (
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// pingPong is the last for conns: there is no command after it.
func pingPong(r *run, subjects []subject, conns map[string]net.Conn) error {
	message := make([]byte, 100)
	if err := startEcho(conns, message); err != nil {
		return err
	}
	const n = 500
	rounds := r.pick(40, 300)
	median, late, err := pingsInTurn(subjectNames, conns, message, rounds, n)
	if err != nil {
		return err
	}
	costs, err := interleave(r.pick(5, 20), subjects, func(s subject) (cost, error) {
		return measure(n, func() error {
			_, err := pings(conns[s.Name()], message, n)
			return err
		})
	})
	if err != nil {
		return err
	}
	r.lines("PingPong", n, costs)
	r.lines("PingPong/median", n, median)
	r.lines("PingPong/p99", n, late)
	r.section("Ping-pong", fmt.Sprintf(`100 bytes there and back, one message at a time. How long one takes depends on how busy the machine is and on which cores the
two processes run, and that changes within milliseconds: so the subjects take turns message by message, in an order drawn by lot, and a round's figure
is the median (or the 99th percentile) of its %d messages of each; there are %d rounds. CPU is not compared: no clock tells it apart for
one message.`, n, rounds))
	r.text(sentence("Our median", median, wallOf, peerName, bareName))
	tab := table{head: []string{"", "median", "÷ " + bareName, "p99", "÷ " + bareName, "allocations"}}
	for _, name := range subjectNames {
		tab.rows = append(tab.rows, []string{name,
			with(spreadOf(values(median[name], wallOf)), "µs"), times(ratio(median[name], median[bareName], wallOf)),
			with(spreadOf(values(late[name], wallOf)), "µs"), times(ratio(late[name], late[bareName], wallOf)),
			with(spreadOf(values(costs[name], allocsOf)), "")})
	}
	r.table(tab)
	rate := inverse(confidence(ratios(median[oursName], median[bareName], wallOf)))
	met := rate.median >= 0.98
	r.bar("ping-pong", "≥ 0.98 × bare tls.Conn", "rate "+times(rate)+", with its 95 % interval", met)
	if !met {
		r.reason(fmt.Sprintf("A ping-pong of %.1f µs with bare crypto/tls takes %.1f µs more with ours: what this library does around each Read and Write.",
			spreadOf(values(median[bareName], wallOf)).median, spreadOf(differences(median[oursName], median[bareName], wallOf)).median))
	}
	return nil
}

// startEcho makes the other ends send back what follows.
func startEcho(conns map[string]net.Conn, message []byte) error {
	for _, c := range conns {
		if _, err := c.Write(command(cmdEcho, 0, len(message))); err != nil {
			return err
		}
	}
	return nil
}

// pingsInTurn sends messages on the connections of these names, each message in
// another order, and returns the median and the 99th percentile of the n of
// each round. What else goes on in the machine hits all alike.
func pingsInTurn(names []string, conns map[string]net.Conn, message []byte, rounds, n int) (median, late map[string][]cost, err error) {
	median, late = map[string][]cost{}, map[string][]cost{}
	turns := newTurns(names)
	for round := range rounds + 1 {
		took := map[string][]time.Duration{}
		for range n {
			for _, name := range turns.next() {
				one, err := pings(conns[name], message, 1)
				if err != nil {
					return nil, nil, fmt.Errorf("%s: %w", name, err)
				}
				took[name] = append(took[name], one...)
			}
		}
		if round == 0 { // it warms up
			continue
		}
		for name, times := range took {
			slices.Sort(times)
			median[name] = append(median[name], cost{wall: times[n/2]})
			late[name] = append(late[name], cost{wall: times[n*99/100]})
		}
	}
	return median, late, nil
}

// pings returns how long each of n messages has taken there and back.
func pings(c net.Conn, message []byte, n int) (took []time.Duration, err error) {
	took = make([]time.Duration, n)
	for i := range took {
		start := time.Now()
		if _, err := c.Write(message); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, message); err != nil {
			return nil, err
		}
		took[i] = time.Since(start)
	}
	return took, nil
}
