package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// localPort measures the port that the command has for programs without a Dialer
// beside the Auth Proxy.
func localPort(ctx context.Context, r *run) error {
	r.section("Local port", fmt.Sprintf(`What "cloudsqlconn proxy" costs, beside Google's Auth Proxy %s and beside a floor: bare crypto/tls, two goroutines and two buffers
of 32 KiB for each connection. Each is a process of its own, whose CPU and memory the kernel tells; the client and the
emulated instance are others. All of them share the machine's cores, so that the ratios of throughput understate the difference.`, authProxyVersion))
	dir, err := os.MkdirTemp("", "cloudsqlconn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(buildCommand(ctx, dir), buildAuthProxy(ctx, dir)); err != nil {
		return err
	}
	for _, f := range []func(context.Context, *run, string) error{portIdle, portMany, portMemory, portTraffic, portConnects} {
		if err := f(ctx, r, dir); err != nil {
			return err
		}
	}
	return nil
}

// portTraffic measures bulk data each way, and short messages there and back.
func portTraffic(ctx context.Context, r *run, programs string) error {
	t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}})
	if err != nil {
		return err
	}
	return withPorts(ctx, portNames, programs, t, r.key, func(ports []*port) error {
		conns := map[string]net.Conn{}
		for _, p := range ports {
			c, err := p.Dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := greet(c); err != nil {
				return err
			}
			conns[p.name] = c
		}
		if err := portStreams(r, ports, conns); err != nil {
			return err
		}
		return portPingPong(r, ports, conns)
	})
}

func portStreams(r *run, ports []*port, conns map[string]net.Conn) error {
	const piece = 32 // MiB
	throughput := barPlot{name: "port", title: "Local port: throughput", unit: "MiB/s"}
	rounds := r.pick(12, 60)
	buf := make([]byte, 64<<10)
	for _, w := range []struct {
		name string
		run  func(c io.ReadWriter, buf []byte, total int) error
	}{{"to the server", upload}, {"from the server", download}} {
		costs, err := interleave(rounds, ports, func(p *port) (cost, error) {
			return p.spent(piece, func() error { return w.run(conns[p.name], buf, piece*mib) })
		})
		if err != nil {
			return err
		}
		throughput.groups = append(throughput.groups, barsOf(w.name, portNames, costs, rateOf))
		r.lines(fmt.Sprintf("PortStream/way=%q", w.name), piece, costs)
		r.text(fmt.Sprintf("Bulk data %s, %d MiB in pieces of %d MiB, by Writes and Reads of %d KiB.\n\n%s %s", w.name, rounds*piece, piece, len(buf)>>10,
			sentence("Our throughput", costs, rateOf, authProxyName, floorName), sentence("Our CPU of a GiB", costs, cpuOf, authProxyName, floorName)))
		tab := table{head: []string{"", "throughput", "÷ " + authProxyName, "CPU of a GiB", "÷ " + authProxyName}}
		for _, name := range portNames {
			tab.rows = append(tab.rows, []string{name,
				with(inverse(scaled(spreadOf(values(costs[name], wallOf)), 1e-6)), "MiB/s"), times(inverse(ratio(costs[name], costs[authProxyName], wallOf))),
				with(scaled(spreadOf(values(costs[name], cpuOf)), 1024e-6), "s"), times(ratio(costs[name], costs[authProxyName], cpuOf))})
		}
		r.table(tab)
		wall, cpu := portRatio(costs, wallOf), portRatio(costs, cpuOf)
		r.bar("local port: throughput "+w.name, "≥ 1.3 × the Auth Proxy's", times(inverse(wall))+", with its 95 % interval", inverse(wall).median >= 1.3)
		r.bar("local port: CPU of a GiB "+w.name, "≤ 0.75 × the Auth Proxy's", times(cpu)+", with its 95 % interval", cpu.median <= 0.75)
	}
	r.plot(throughput)
	return nil
}

// portRatio is ours to the Auth Proxy's, with its 95 % interval.
func portRatio(costs map[string][]cost, pick func(cost) float64) spread {
	return confidence(ratios(costs[oursName], costs[authProxyName], pick))
}

func scaled(s spread, by float64) spread { return spread{s.median * by, s.low * by, s.high * by} }

// portPingPong is the last for conns: there is no command after it.
func portPingPong(r *run, ports []*port, conns map[string]net.Conn) error {
	message := make([]byte, 100)
	if err := startEcho(conns, message); err != nil {
		return err
	}
	const n = 2000
	rounds := r.pick(10, 40)
	median, late, err := pingsInTurn(portNames, conns, message, rounds, n)
	if err != nil {
		return err
	}
	costs, err := interleave(r.pick(5, 20), ports, func(p *port) (cost, error) {
		return p.spent(n, func() error {
			_, err := pings(conns[p.name], message, n)
			return err
		})
	})
	if err != nil {
		return err
	}
	r.lines("PortPingPong", n, costs)
	r.lines("PortPingPong/median", n, median)
	r.lines("PortPingPong/p99", n, late)
	r.text(fmt.Sprintf("100 bytes there and back, one message at a time, on each in turn, in an order drawn by lot, %d rounds of %d; the bar is missed if ours certainly takes longer.\n\n%s %s", rounds, n,
		sentence("Our median", median, wallOf, authProxyName, floorName), sentence("Our p99", late, wallOf, authProxyName, floorName)))
	tab := table{head: []string{"", "median", "p99", "÷ " + authProxyName, "CPU of a message", "÷ " + authProxyName}}
	for _, name := range portNames {
		tab.rows = append(tab.rows, []string{name, with(spreadOf(values(median[name], wallOf)), "µs"),
			with(spreadOf(values(late[name], wallOf)), "µs"), times(ratio(late[name], late[authProxyName], wallOf)),
			with(spreadOf(values(costs[name], cpuOf)), "µs"), times(ratio(costs[name], costs[authProxyName], cpuOf))})
	}
	r.table(tab)
	p99 := portRatio(late, wallOf)
	r.bar("local port: p99 of a ping-pong", "≤ the Auth Proxy's", times(p99)+", with its 95 % interval", p99.low <= 1)
	return nil
}

// portConnects measures connections that come and go.
func portConnects(ctx context.Context, r *run, programs string) error {
	const atATime = 16
	n, rounds := r.pick(250, 500), r.pick(4, 10)
	for _, kind := range []struct {
		name, about string
		spec        InstanceSpec
	}{
		{"resumed", "A server that resumes sessions, as ours does; the Auth Proxy does a full handshake for each connection", InstanceSpec{}},
		{"full", "A server that resumes no sessions, where both do the same work", InstanceSpec{NoTickets: true}},
	} {
		kind.spec.Names = []string{r.nextInstance()}
		t, err := r.kit.add(kind.spec)
		if err != nil {
			return err
		}
		var costs map[string][]cost
		if err := withPorts(ctx, portNames, programs, t, r.key, func(ports []*port) (err error) {
			costs, err = interleave(rounds, ports, func(p *port) (cost, error) {
				return p.spent(n, func() error {
					return atOnce(atATime, n, func(int) error { return dialOnce(ctx, p) })
				})
			})
			return err
		}); err != nil {
			return err
		}
		r.lines("PortConnect/handshake="+kind.name, n, costs)
		r.text(fmt.Sprintf("%s (%d connections, %d at once, until the first byte of the server, in %d rounds).\n\n%s %s", kind.about, n, atATime, rounds,
			sentence("Our rate of connections", costs, rateOf, authProxyName, floorName), sentence("Our CPU of a connection", costs, cpuOf, authProxyName, floorName)))
		tab := table{head: []string{"", "connections a second", "÷ " + authProxyName, "CPU of a connection", "÷ " + authProxyName}}
		for _, name := range portNames {
			tab.rows = append(tab.rows, []string{name,
				with(inverse(scaled(spreadOf(values(costs[name], wallOf)), 1e-6)), ""), times(inverse(ratio(costs[name], costs[authProxyName], wallOf))),
				with(spreadOf(values(costs[name], cpuOf)), "µs"), times(ratio(costs[name], costs[authProxyName], cpuOf))})
		}
		r.table(tab)
		if kind.name == "resumed" {
			wall := inverse(portRatio(costs, wallOf))
			r.bar("local port: connections a second, sessions resumed", "≥ 2 × the Auth Proxy's", times(wall)+", with its 95 % interval", wall.median >= 2)
		}
	}
	return nil
}
