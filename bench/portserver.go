package bench

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"runtime"
	"runtime/pprof"
	"strings"

	"github.com/google/pprof/profile"
)

// PortServer is a port in a child process, which can be asked what its memory
// goes to. It and what it takes is exported for net/rpc alone.
type PortServer struct{}

// PortConfig says what the port is, and where it leads.
type PortConfig struct {
	Floor  bool // bare crypto/tls; otherwise Dialer.Serve
	Target target
	Bare   material
	Key    []byte // RSA, PKCS #1
}

// startPortServer starts one.
func startPortServer(name string, t target, key *rsa.PrivateKey) (*port, *process, error) {
	bare, err := fetchMaterial(t, key)
	if err != nil {
		return nil, nil, err
	}
	p, err := startProcess(rolePort)
	if err != nil {
		return nil, nil, err
	}
	c := &port{name: name, pid: p.cmd.Process.Pid, close: p.close}
	cfg := PortConfig{name == floorName, t, bare, x509.MarshalPKCS1PrivateKey(key)}
	if err := p.rpc.Call("Port.Start", cfg, &c.addr); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, p, nil
}

// startFloor starts the least that a port can be.
func startFloor(t target, key *rsa.PrivateKey) (*port, error) {
	p, _, err := startPortServer(floorName, t, key)
	return p, err
}

// Start starts the port, and returns where it listens.
func (*PortServer) Start(cfg PortConfig, addr *string) error {
	raiseFileLimit()
	runtime.MemProfileRate = 512 // before most is allocated
	key, err := x509.ParsePKCS1PrivateKey(cfg.Key)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	*addr = l.Addr().String()
	if cfg.Floor {
		b, err := bareOf(cfg.Bare, key)
		if err != nil {
			return err
		}
		go floor(l, b) // ends with the process
		return nil
	}
	d, err := newOurs(cfg.Target, key)
	if err != nil {
		return err
	}
	go func() { _ = d.Serve(context.Background(), l, cfg.Target.Instance) }() // ends with the process
	return nil
}

// floor is the least that a port does: for each connection a handshake, and two
// goroutines with a buffer each.
func floor(l net.Listener, b *bare) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			server, err := b.Dial(context.Background())
			if err != nil {
				_ = client.Close()
				return
			}
			go pipe(client, server)
			pipe(server, client)
		}()
	}
}

func pipe(to, from net.Conn) {
	const size = 32 << 10
	type writer struct{ io.Writer } // without ReadFrom, which would have buffers of its own
	type reader struct{ io.Reader }
	_, _ = io.CopyBuffer(writer{to}, reader{from}, make([]byte, size))
	_ = to.Close()
	_ = from.Close()
}

// PortMemory is what is live, in bytes.
type PortMemory struct{ Stacks, TLS, Own, Rest float64 }

// Memory returns what is live.
func (*PortServer) Memory(_ struct{}, m *PortMemory) error {
	inUse()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.Stacks = float64(stats.StackInuse)
	var text bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&text, 0); err != nil {
		return err
	}
	p, err := profile.Parse(&text)
	if err != nil {
		return err
	}
	if len(p.SampleType) < 4 {
		return errors.New("the heap profile does not say what is in use")
	}
	for _, s := range p.Sample {
		*m.kind(s) += float64(s.Value[3])
	}
	return nil
}

// kind is who has allocated s: the innermost of our functions and of those of
// crypto/tls.
func (m *PortMemory) kind(s *profile.Sample) *float64 {
	for _, l := range s.Location {
		for _, f := range l.Line {
			switch name := f.Function.Name; {
			case strings.HasPrefix(name, "crypto/tls."):
				return &m.TLS
			case strings.HasPrefix(name, "github.com/cloudsqlconn/cloudsqlconn"):
				return &m.Own
			}
		}
	}
	return &m.Rest
}
