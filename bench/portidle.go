package bench

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"
)

// settle is how long connections are left alone before their memory is looked at:
// more than the second after which the command gives back what a burst has left.
const settle = 4 * time.Second

// portIdle measures the memory of connections that nobody uses.
func portIdle(ctx context.Context, r *run, programs string) error {
	const n = 1000
	rounds := r.pick(2, 3)
	resident := map[string][]float64{}
	for range rounds {
		these, _, err := idlePorts(ctx, r, programs, n, 0)
		if err != nil {
			return err
		}
		for name, bytes := range these {
			resident[name] = append(resident[name], bytes/1024)
		}
	}
	r.text(fmt.Sprintf("By how much the resident memory (RSS) of a fresh process grows for each of %d idle connections, %v after the last, in %d rounds.\n\n%s", n, settle, rounds,
		sentenceOf("Our memory", func(other string) spread { return confidence(quotients(resident[oursName], resident[other])) }, authProxyName, floorName)))
	memory := map[string]spread{}
	for _, name := range portNames {
		memory[name] = spreadOf(resident[name])
	}
	r.plot(barPlot{"port-idle", fmt.Sprintf("Local port: RSS of each of %d idle connections", n), "KiB", []group{barsFor("", portNames, memory)}})
	tab := table{head: []string{"", "RSS of each", "÷ " + authProxyName}}
	for _, name := range portNames {
		tab.rows = append(tab.rows, []string{name, with(spreadOf(resident[name]), "KiB"), times(spreadOf(quotients(resident[name], resident[authProxyName])))})
		for _, kib := range resident[name] {
			fmt.Fprintf(&r.raw, "BenchmarkPortIdle/subject=%s %d %.0f rss-B/conn\n", dashed(name), n, kib*1024)
		}
	}
	r.table(tab)
	toTheirs := spreadOf(quotients(resident[oursName], resident[authProxyName]))
	r.bar(fmt.Sprintf("local port: RSS of each of %d idle connections", n), "≤ 0.3 × the Auth Proxy's", times(toTheirs), toTheirs.median <= 0.3)
	return nil
}

// portMany holds as many connections as the limit of open files allows.
func portMany(ctx context.Context, r *run, programs string) error {
	const spare = 100 // files that are no connections
	n := min(10_000, (fileLimit()-spare)/2)
	if r.quick {
		n = min(n, 3000)
	}
	resident, cpu, err := idlePorts(ctx, r, programs, n, settle)
	if err != nil {
		return err
	}
	r.text(fmt.Sprintf("%d connections (10,000, or as many as the limit of open files allows a process, which needs two for each). All were held: at\nthe end each still answered. CPU is that of all together, over %v: %.2f %% of a core with ours, %.2f %% with the Auth Proxy.", n, settle,
		100*cpu[oursName], 100*cpu[authProxyName]))
	tab := table{head: []string{"", "RSS of each", "CPU, share of a core"}}
	for _, name := range portNames {
		tab.rows = append(tab.rows, []string{name, fmt.Sprintf("%.1f KiB", resident[name]/1024), fmt.Sprintf("%.2f %%", 100*cpu[name])})
	}
	r.table(tab)
	r.bar(fmt.Sprintf("local port: %d idle connections", n), "held, no idle CPU", fmt.Sprintf("%.2f %% of a core (the Auth Proxy %.2f %%)", 100*cpu[oursName], 100*cpu[authProxyName]), cpu[oursName] < 0.005)
	return nil
}

// idlePorts opens n connections to a fresh port of each kind, and returns by how
// many bytes its RSS has grown for each, and how much of a core it has used for
// a time after that.
func idlePorts(ctx context.Context, r *run, programs string, n int, watch time.Duration) (resident, cpu map[string]float64, err error) {
	resident, cpu = map[string]float64{}, map[string]float64{}
	t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}})
	if err != nil {
		return nil, nil, err
	}
	for _, name := range portNames {
		p, err := startPort(ctx, name, programs, t, r.key)
		if err != nil {
			return nil, nil, err
		}
		resident[name], cpu[name], err = p.idle(ctx, n, watch)
		p.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return resident, cpu, nil
}

func (p *port) idle(ctx context.Context, n int, watch time.Duration) (resident, cpu float64, err error) {
	before, err := usageOf(p.pid)
	if err != nil {
		return 0, 0, err
	}
	conns, err := opened(ctx, p, n)
	defer closeConns(conns)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(settle)
	settled, err := usageOf(p.pid)
	time.Sleep(watch)
	after, lastErr := usageOf(p.pid)
	for _, c := range conns { // held, that is to say
		if _, err := c.Write(command(cmdDiscard, 0, 1)); err != nil {
			return 0, 0, err
		}
	}
	for _, c := range conns {
		if err := greet(c); err != nil {
			return 0, 0, err
		}
	}
	return (settled.resident - before.resident) / float64(n), float64(after.cpu-settled.cpu) / float64(max(watch, 1)), errors.Join(err, lastErr)
}

// portMemory tells what the memory of idle connections goes to.
func portMemory(ctx context.Context, r *run, _ string) error {
	const n = 1000
	t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}})
	if err != nil {
		return err
	}
	share := 0.0
	tab := table{head: []string{"", "stacks", "crypto/tls", "this library or the floor", "net, runtime and the rest"}}
	for _, name := range []string{oursName, floorName} {
		m, err := portMemoryOf(ctx, name, t, r.key, n)
		if err != nil {
			return err
		}
		if name == oursName {
			share = m.TLS / (m.Stacks + m.TLS + m.Own + m.Rest)
		}
		row := []string{name}
		for _, bytes := range []float64{m.Stacks, m.TLS, m.Own, m.Rest} {
			row = append(row, fmt.Sprintf("%.1f KiB", bytes/1024/n))
		}
		tab.rows = append(tab.rows, row)
	}
	r.text(fmt.Sprintf("What is live of each connection, by a heap profile, of Dialer.Serve and of the floor. Of ours, %.0f %% belongs to crypto/tls: two ciphers,\nand buffers that have grown in the handshake, which nobody can take from it.", 100*share))
	r.table(tab)
	return nil
}

// portMemoryOf returns by how much the live memory of a port grows with n
// connections.
func portMemoryOf(ctx context.Context, name string, t target, key *rsa.PrivateKey, n int) (grown PortMemory, err error) {
	p, process, err := startPortServer(name, t, key)
	if err != nil {
		return grown, err
	}
	defer p.Close()
	if err := p.ready(ctx); err != nil {
		return grown, err
	}
	var before PortMemory
	if err := process.rpc.Call("Port.Memory", struct{}{}, &before); err != nil {
		return grown, err
	}
	conns, err := opened(ctx, p, n)
	defer closeConns(conns)
	if err != nil {
		return grown, err
	}
	time.Sleep(settle)
	err = process.rpc.Call("Port.Memory", struct{}{}, &grown)
	grown.Stacks -= before.Stacks
	grown.TLS -= before.TLS
	grown.Own -= before.Own
	grown.Rest -= before.Rest
	return grown, err
}
