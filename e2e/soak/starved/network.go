//go:build linux

package starved

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// network tells the client, see way, where addresses lead. Asked about one that
// swallows SYNs it does not answer.
type network struct {
	listener net.Listener
	wg       sync.WaitGroup // counts connections, which the client ends

	mu        sync.Mutex // guards everything below
	instances []*cloudsqltest.EmulatedInstance
	lost      map[string]bool // hosts that swallow SYNs
}

func newNetwork() (*network, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &network{listener: l, lost: map[string]bool{}}
	n.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.answer(c) })
		}
	})
	return n, nil
}

func (n *network) add(p *cloudsqltest.EmulatedInstance) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.instances = append(n.instances, p)
}

// swallow says whether a host swallows SYNs from now on.
func (n *network) swallow(host string, yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost[host] = yes
}

func (n *network) answer(c net.Conn) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	to, lost := n.find(strings.TrimSpace(line))
	if lost {
		_, _ = io.Copy(io.Discard, c) // until the client gives up
		return
	}
	fmt.Fprintln(c, to)
}

// find returns where an address leads.
func (n *network) find(addr string) (to string, lost bool) {
	host, _, _ := net.SplitHostPort(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lost[host] {
		return "", true
	}
	for _, p := range n.instances {
		for _, h := range p.Addrs() {
			if h == host {
				if to := p.Addr(); to != nil {
					return to.String(), false
				}
			}
		}
	}
	return refused, false
}

// close is to be called once the client has ended.
func (n *network) close() {
	_ = n.listener.Close()
	n.wg.Wait()
}

// hostsOf are an instance's addresses.
func hostsOf(p *cloudsqltest.EmulatedInstance) []string {
	var hosts []string
	for _, host := range p.Addrs() {
		hosts = append(hosts, host)
	}
	return hosts
}
