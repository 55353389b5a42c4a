package bench

import (
	"context"
	"fmt"
	"strings"
)

// streams measures SQL Data: streams of gRPC in place of connections to an
// instance. The service is in the kit's process, and each subject in one of its
// own.
func streams(_ context.Context, r *run) error {
	r.section("SQL Data", `Connections that are streams of gRPC, to a service in the process of the emulated Cloud SQL, over TLS. Ours and Google's are
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

// streamWays are what is transferred: each size is that of a Write of the client,
// or of a message of the server.
var streamWays = []struct {
	name  string
	tasks []SQLDataTransfer
}{
	{"to the server", []SQLDataTransfer{{true, streamPiece, 32 << 10}, {true, streamPiece, mib}}},
	{"from the server", []SQLDataTransfer{{false, streamPiece, 32 << 10}}},
}

// streamPiece is how many MiB are one turn.
const streamPiece = 8

// streamTransfers measures bulk data each way, and short messages there and back.
// How fast a process is depends on its luck, too: there are several of each.
func streamTransfers(r *run) error {
	costs, pingPong := map[SQLDataTransfer]map[string][]cost{}, map[string][]cost{}
	processes, rounds := r.pick(2, 8), r.pick(12, 25)
	for range processes {
		if err := r.withStreamClients(func(clients []*streamClient) error {
			for _, w := range streamWays {
				for _, task := range w.tasks {
					these, err := interleave(rounds, clients, func(c *streamClient) (cost, error) { return c.spent("Transfer", task) })
					if err != nil {
						return err
					}
					costs[task] = joined(costs[task], these)
				}
			}
			these, err := interleave(rounds, clients, func(c *streamClient) (cost, error) { return c.spent("PingPong", streamPings) })
			pingPong = joined(pingPong, these)
			return err
		}); err != nil {
			return err
		}
	}
	r.text(fmt.Sprintf("%d MiB each way and for each size of Write (and of the server's messages), in pieces of %d MiB that take turns, by %d processes of each\nsubject. Times are for one MiB. A bar is met if the median of all is, and if no size is certainly below it.",
		processes*rounds*streamPiece, streamPiece, processes))
	throughput := barPlot{name: "sqldata", title: "SQL Data: throughput", unit: "MiB/s"}
	for _, w := range streamWays {
		for _, task := range w.tasks {
			throughput.groups = append(throughput.groups, barsOf(fmt.Sprintf("%s,\n%d KiB", w.name, task.Size>>10), subjectNames, costs[task], rateOf))
		}
	}
	r.plot(throughput)
	for _, w := range streamWays {
		for _, task := range w.tasks {
			r.lines(fmt.Sprintf("SQLDataStream/way=%q/size=%d", w.name, task.Size), streamPiece, costs[task])
			r.text(fmt.Sprintf("%s, %d KiB. %s", capital(w.name), task.Size>>10, sentences(costs[task], peerName, bareName)))
			r.costTable(costs[task], wallOf, cpuOf, allocsOf, bytesOf)
		}
		streamBar(r, "throughput "+w.name, "≥ 0.95 × a bare stream of gRPC", w.tasks, costs, bareName, wallOf, 1/0.95)
		streamBar(r, "throughput "+w.name, "≥ 1 × Google's", w.tasks, costs, peerName, wallOf, 1)
		streamBar(r, "client CPU for a GiB "+w.name, "≤ 0.9 × Google's", w.tasks, costs, peerName, cpuOf, 0.9)
	}
	r.lines("SQLDataPingPong", streamPings, pingPong)
	r.text("100 bytes there and back, one message at a time. " + sentences(pingPong, peerName, bareName))
	r.costTable(pingPong, wallOf, cpuOf, allocsOf, bytesOf)
	return nil
}

// streamPings is how many messages of a ping-pong are one turn.
const streamPings = 250

// joined adds more costs to those that there are.
func joined(all, more map[string][]cost) map[string][]cost {
	if all == nil {
		all = map[string][]cost{}
	}
	for name, costs := range more {
		all[name] = append(all[name], costs...)
	}
	return all
}

// streamBar is met if our cost is at most so many times that of another subject.
// The cost of time is shown as throughput.
func streamBar(r *run, work, bar string, tasks []SQLDataTransfer, costs map[SQLDataTransfer]map[string][]cost, base string, pick func(cost) float64, most float64) {
	var all []float64
	var worst spread
	for _, task := range tasks {
		these := ratios(costs[task][oursName], costs[task][base], pick)
		all = append(all, these...)
		if x := confidence(these); x.median > worst.median {
			worst = x
		}
	}
	whole := confidence(all)
	met := whole.median <= most && worst.low <= most
	if strings.HasPrefix(work, "throughput") {
		whole, worst = inverse(whole), inverse(worst)
	}
	text := times(whole) + ", with its 95 % interval"
	if len(tasks) > 1 {
		text += "; the worst size alone " + times(worst)
	}
	r.bar("SQL Data: "+work, bar, text, met)
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
	r.text(fmt.Sprintf("%d idle connections, each after an exchange of a few bytes; heap and stacks in use, after a garbage collection.", n))
	tab := table{head: []string{"", "memory of each", "÷ " + peerName, "goroutines of each"}}
	toPeer := map[string]spread{}
	for _, name := range subjectNames {
		toPeer[name] = spreadOf(quotients(memory[name], memory[peerName]))
		tab.rows = append(tab.rows, []string{name, with(spreadOf(memory[name]), "B"), times(toPeer[name]), with(spreadOf(goroutines[name]), "")})
	}
	r.text(sentenceOf("Our memory", func(other string) spread { return confidence(quotients(memory[oursName], memory[other])) }, peerName, bareName))
	r.plot(barPlot{"sqldata-idle", fmt.Sprintf("SQL Data: memory of each of %d idle connections", n), "bytes",
		[]group{barsFor("", subjectNames, map[string]spread{oursName: spreadOf(memory[oursName]), peerName: spreadOf(memory[peerName]), bareName: spreadOf(memory[bareName])})}})
	r.table(tab)
	r.bar(fmt.Sprintf("SQL Data: memory of each of %d idle connections", n), "≤ 0.5 × Google's",
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
	r.text(fmt.Sprintf("%d MiB written before the first Read: heap and stacks have grown by %s with ours then, by %s with Google's.", n,
		with(spreadOf(growth[oursName]), "MiB"), with(spreadOf(growth[peerName]), "MiB")))
	r.table(tab)
	mine := spreadOf(growth[oursName])
	r.bar(fmt.Sprintf("SQL Data: memory after %d MiB written before the first Read", n), "≤ idle + 2 MiB",
		fmt.Sprintf("idle + %s (Google's + %s)", with(mine, "MiB"), with(spreadOf(growth[peerName]), "MiB")), mine.median <= 2)
	return nil
}
