package bench

import (
	"context"
	"fmt"
)

// streams measures SQL Data: streams of gRPC in place of connections to an
// instance. The service is in the kit's process, and each subject in one of its
// own.
func streams(_ context.Context, r *run) error {
	r.section("SQL Data", `Connections that are streams of gRPC, to a service in the process of the emulated Cloud SQL, over TLS. Ours and the peer's are
those of a Dial with WithSQLData, and "bare" is a stream of grpc-go with messages of 32 KiB, whose data is copied once each way.
Each subject has a process of its own; they take turns.`)
	for _, f := range []func(*run) error{streamTransfers, idleStreams, unreadStreams} {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

// withStreamClients calls f with a fresh client of each kind.
func (r *run) withStreamClients(f func([]*streamClient) error) error {
	var clients []*streamClient
	defer func() {
		for _, c := range clients {
			_ = c.close()
		}
	}()
	for _, name := range subjectNames {
		c, err := r.startStreamClient(name)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	return f(clients)
}

func streamTransfers(r *run) error {
	return r.withStreamClients(func(clients []*streamClient) error {
		const piece = 8 // MiB
		rounds := r.pick(25, 150)
		r.text(fmt.Sprintf("%d MiB each way and for each size of Write (the server's messages are of 32 KiB), in pieces of %d MiB that take turns. Times are for one MiB.", rounds*piece, piece))
		for _, w := range []struct {
			name  string
			sizes []int
		}{{"to the server", []int{32 << 10, mib}}, {"from the server", []int{32 << 10}}} {
			all := map[string][]cost{}
			for _, size := range w.sizes {
				task := SQLDataTransfer{Up: w.name == "to the server", MiB: piece, Size: size}
				costs, err := interleave(rounds, clients, func(c *streamClient) (cost, error) { return c.spent("Transfer", task) })
				if err != nil {
					return err
				}
				r.lines(fmt.Sprintf("SQLDataStream/way=%q/size=%d", w.name, size), piece, costs)
				r.text(fmt.Sprintf("%s, %d KiB:", w.name, size>>10))
				r.costTable(costs, wallOf, cpuOf, allocsOf, bytesOf)
				for name, c := range costs {
					all[name] = append(all[name], c...)
				}
			}
			streamBars(r, w.name, all)
		}
		return streamPingPong(r, clients)
	})
}

func streamBars(r *run, way string, costs map[string][]cost) {
	throughput := func(name string) spread {
		return inverse(confidence(ratios(costs[oursName], costs[name], wallOf)))
	}
	bare, peer := throughput(bareName), throughput(peerName)
	r.bar("SQL Data: throughput "+way, "≥ 0.95 × a bare stream of gRPC", times(bare)+", with its 95 % interval", bare.median >= 0.95)
	r.bar("SQL Data: throughput "+way, "≥ 1 × the peer's", times(peer)+", with its 95 % interval", peer.median >= 1)
	cpu := confidence(ratios(costs[oursName], costs[peerName], cpuOf))
	r.bar("SQL Data: client CPU for a GiB "+way, "≤ 0.9 × the peer's", times(cpu)+", with its 95 % interval", cpu.median <= 0.9)
}

// streamPingPong is the last: the connections are of no other use after it.
func streamPingPong(r *run, clients []*streamClient) error {
	const n = 250
	costs, err := interleave(r.pick(20, 100), clients, func(c *streamClient) (cost, error) { return c.spent("PingPong", n) })
	if err != nil {
		return err
	}
	r.lines("SQLDataPingPong", n, costs)
	r.text("100 bytes there and back, one message at a time:")
	r.costTable(costs, wallOf, cpuOf, allocsOf, bytesOf)
	return nil
}

// idleStreams measures connections that nobody uses after a small exchange.
func idleStreams(r *run) error {
	const n = 1000
	memory, goroutines := map[string][]float64{}, map[string][]float64{}
	for range r.pick(1, 3) {
		if err := r.withStreamClients(func(clients []*streamClient) error {
			for _, c := range clients {
				var idle SQLDataIdle
				if err := c.call("Idle", n, &idle); err != nil {
					return err
				}
				memory[c.name] = append(memory[c.name], idle.Memory)
				goroutines[c.name] = append(goroutines[c.name], idle.Goroutines)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	r.text(fmt.Sprintf("%d idle connections, each after an exchange of a few bytes; heap and stacks in use, after a garbage collection:", n))
	tab := table{head: []string{"", "memory of each", "÷ " + peerName, "goroutines of each"}}
	toPeer := map[string]spread{}
	for _, name := range subjectNames {
		toPeer[name] = spreadOf(quotients(memory[name], memory[peerName]))
		tab.rows = append(tab.rows, []string{name, with(spreadOf(memory[name]), "B"), times(toPeer[name]), with(spreadOf(goroutines[name]), "")})
	}
	r.table(tab)
	r.bar(fmt.Sprintf("SQL Data: memory of each of %d idle connections", n), "≤ 0.5 × the peer's",
		fmt.Sprintf("%s (bare %s)", times(toPeer[oursName]), times(toPeer[bareName])), toPeer[oursName].median <= 0.5)
	return nil
}

// unreadStreams measures what is kept of what is written before the first Read:
// another way to the instance may need it.
func unreadStreams(r *run) error {
	const n = 64 // MiB
	growth := map[string][]float64{}
	if err := r.withStreamClients(func(clients []*streamClient) error {
		for range r.pick(3, 11) {
			for _, c := range clients {
				var bytes float64
				if err := c.call("Unread", n, &bytes); err != nil {
					return err
				}
				growth[c.name] = append(growth[c.name], bytes/mib)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	tab := table{head: []string{"", "memory"}}
	for _, name := range subjectNames {
		tab.rows = append(tab.rows, []string{name, with(spreadOf(growth[name]), "MiB")})
	}
	r.text(fmt.Sprintf("%d MiB written before the first Read; by how much heap and stacks have grown then:", n))
	r.table(tab)
	mine := spreadOf(growth[oursName])
	r.bar(fmt.Sprintf("SQL Data: memory after %d MiB written before the first Read", n), "≤ idle + 2 MiB",
		fmt.Sprintf("idle + %s (the peer + %s)", with(mine, "MiB"), with(spreadOf(growth[peerName]), "MiB")), mine.median <= 2)
	return nil
}
