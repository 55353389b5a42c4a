package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/bench/internal/client"
)

// needsBefore is why a bar is not measured.
const needsBefore = "it needs -before"

// addresses measures instances with two addresses: of which the first is
// silent, and of which the first is good.
func addresses(ctx context.Context, r *run) error {
	dir, err := os.MkdirTemp("", "cloudsqlconn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	programs := map[string]string{oursName: filepath.Join(dir, oursName)}
	programs[peerName] = programs[oursName]
	if err := buildClient(ctx, ".", programs[oursName]); err != nil {
		return err
	}
	if r.Before != "" {
		programs[beforeName] = filepath.Join(dir, beforeName)
		files := filepath.Join(dir, "files")
		if err := errors.Join(os.Mkdir(files, 0o755), buildClientAt(ctx, r.Before, files, programs[beforeName])); err != nil {
			return err
		}
	}
	for _, f := range []func(*run, map[string]string) error{firstDials, followingDials, firstAddressGood} {
		if err := f(r, programs); err != nil {
			return err
		}
	}
	return nil
}

var addressNames = []string{oursName, beforeName, peerName}

// clients starts a client of each program, for an instance of their own.
func (r *run) clients(programs map[string]string, spec InstanceSpec) ([]*clientOf, error) {
	spec.Names = []string{r.nextInstance()}
	t, err := r.kit.add(spec)
	if err != nil {
		return nil, err
	}
	var clients []*clientOf
	for _, name := range addressNames { // the peer is the last
		if programs[name] == "" {
			continue
		}
		cfg := t.config(r.key)
		cfg.Peer = name == peerName
		c, err := startClient(name, programs[name], cfg)
		if err != nil {
			closeClients(clients)
			return nil, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func closeClients(clients []*clientOf) {
	for _, c := range clients {
		_ = c.close()
	}
}

// firstDials measures the first Dial of a Dialer, at an instance whose first
// address is silent.
func firstDials(r *run, programs map[string]string) error {
	clients, err := r.clients(programs, InstanceSpec{NoTickets: true, Silent: true})
	if err != nil {
		return err
	}
	defer closeClients(clients)
	const patience = 12 * time.Second
	task := client.Task{Fresh: true, Dials: 1, Timeout: patience}
	last := len(clients) - 1
	costs, err := interleave(r.pick(1, 5), clients[:last], func(c *clientOf) (cost, error) { return c.do(task) })
	if err != nil {
		return err
	}
	r.lines("FirstDial/address=silent", 1, costs)
	took := func(name string) string {
		return with(spreadOf(values(costs[name], func(c cost) float64 { return ms(c.wall) })), "ms")
	}
	// Once is enough: it can wait for an answer, or for the end of its context.
	spent, err := clients[last].do(task)
	theirs := digits(ms(spent.wall)) + " ms"
	if _, failed := errors.AsType[*taskError](err); failed {
		theirs = "fails after " + theirs
	} else if err != nil {
		return err
	}
	r.section("A silent address", fmt.Sprintf(`An instance with a public and a private address, as seen by a program whose packets to the public one lead nowhere: it
comes first, and the function of WithDialFunc waits there for the end of its context. Default options; Google's with
WithAutoIP. Each subject has a process of its own. The first Dial of a Dialer, to the server's first byte, with %v to
live; Google's is measured once.`, patience))
	r.text(fmt.Sprintf("Ours takes %s; Google's %s.", took(oursName), strings.Replace(theirs, "fails", "gives up, without a connection,", 1)))
	tab := table{head: []string{"", "first Dial", "÷ " + beforeName}}
	for _, c := range clients[:last] {
		row := []string{c.name, took(c.name), ""}
		if r.Before != "" {
			row[2] = times(ratio(costs[c.name], costs[beforeName], wallOf))
		}
		tab.rows = append(tab.rows, row)
	}
	tab.rows = append(tab.rows, []string{peerName, theirs, ""})
	r.table(tab)
	const work, bar = "first Dial, the first address silent", "≤ 0.07 × before"
	if r.Before == "" {
		r.unmeasured(work, bar, needsBefore)
		return nil
	}
	toBefore := ratio(costs[oursName], costs[beforeName], wallOf)
	r.bar(work, bar, fmt.Sprintf("%s: %s after %s (Google's %s)", times(toBefore), took(oursName), took(beforeName), theirs), toBefore.median <= 0.07)
	return nil
}

// followingDials measures what the first one has learned, at the same kind of
// instance.
func followingDials(r *run, programs map[string]string) error {
	const silent, good = "first address silent", "good address only"
	names := []string{silent, good}
	t, err := r.kit.add(InstanceSpec{Names: []string{r.nextInstance()}, NoTickets: true, Silent: true})
	if err != nil {
		return err
	}
	var clients []*clientOf
	defer func() { closeClients(clients) }()
	for _, name := range names {
		cfg := t.config(r.key)
		cfg.Private = name == good
		c, err := startClient(name, programs[oursName], cfg)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	costs, err := r.dialWarm(clients, r.pick(10, 100))
	if err != nil {
		return err
	}
	r.text("The Dials that follow it within ten minutes, beside those of a Dialer with WithPrivateIP. Their wall time is " +
		compared(confidence(ratios(costs[silent], costs[good], wallOf)), "that with the good address only") + ".")
	r.costTableTo(good, names, costs, wallOf, cpuOf, allocsOf)
	wall := confidence(ratios(costs[silent], costs[good], wallOf))
	r.bar("following Dials, the first address silent", "≤ 1.05 × with the good address only",
		fmt.Sprintf("wall %s, with its 95 %% interval", times(wall)), wall.median <= 1.05)
	return nil
}

// firstAddressGood measures what a second address costs if it is not needed.
func firstAddressGood(r *run, programs map[string]string) error {
	r.section("Two good addresses", "Warm Dials to an instance with a public and a private address that both answer; else as above.")
	if err := firstOfTwo(r, programs, "full", r.pick(10, 250)); err != nil {
		return err
	}
	// What the library adds is a larger share of these, and better seen.
	return firstOfTwo(r, programs, "resumed", r.pick(10, 300))
}

func firstOfTwo(r *run, programs map[string]string, handshake string, rounds int) error {
	clients, err := r.clients(programs, InstanceSpec{NoTickets: handshake == "full"})
	if err != nil {
		return err
	}
	defer closeClients(clients)
	calls, err := r.callsOf(clients)
	if err != nil {
		return err
	}
	costs, err := r.dialWarm(clients, rounds)
	if err != nil {
		return err
	}
	r.lines("WarmDial/handshake="+handshake+"/addresses=2", warmDials, costs)
	base, others := oursName, []string{peerName}
	if r.Before != "" {
		base, others = beforeName, []string{peerName, beforeName}
	}
	r.text("A " + handshake + " handshake. " + sentences(costs, others...))
	r.costTableTo(base, addressNames, costs, wallOf, cpuOf, allocsOf, bytesOf)
	const bar = "≤ 1.01 × before"
	work := "the first of two addresses good, " + handshake + " handshake: "
	if r.Before == "" {
		r.unmeasured(work+"client CPU", bar, needsBefore)
		r.unmeasured(work+"allocations", bar, needsBefore)
	} else {
		cpu := confidence(ratios(costs[oursName], costs[beforeName], cpuOf))
		r.bar(work+"client CPU", bar, times(cpu)+", with its 95 % interval", cpu.median <= 1.01)
		allocs := ratio(costs[oursName], costs[beforeName], allocsOf)
		r.bar(work+"allocations", bar, times(allocs), allocs.median <= 1.01)
	}
	r.bar(work+"API calls", "2 for all Dials", fmt.Sprintf("%d (Google's %d)", calls[oursName], calls[peerName]), calls[oursName] == 2)
	return nil
}

// callsOf counts the calls of the Admin API for the first Dials of each client.
func (r *run) callsOf(clients []*clientOf) (map[string]int, error) {
	calls := map[string]int{}
	for _, c := range clients {
		if _, err := r.kit.calls(); err != nil {
			return nil, err
		}
		if _, err := c.do(client.Task{Dials: 10, Timeout: time.Minute}); err != nil {
			return nil, err
		}
		seen, err := r.kit.calls()
		if err != nil {
			return nil, err
		}
		calls[c.name] = seen.Calls
	}
	return calls, nil
}

// warmDials is how many Dials are one turn of dialWarm.
const warmDials = 20

// dialWarm measures Dials after the first of each Dialer.
func (r *run) dialWarm(clients []*clientOf, rounds int) (map[string][]cost, error) {
	return interleave(rounds, clients, func(c *clientOf) (cost, error) {
		return c.do(client.Task{Dials: warmDials, Timeout: time.Minute})
	})
}
