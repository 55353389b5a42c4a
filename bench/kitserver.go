package bench

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// kitServer is the other end of kit, in the child.
type kitServer struct {
	server *cloudsqltest.Server

	mu      sync.Mutex // guards everything below
	proxies map[string]*cloudsqltest.Proxy
	fault   *cloudsqltest.Fault
	n       int
	clients map[string]bool // of the Admin API, by address
}

type kitInfo struct{ URL, Token string }

// instanceSpec describes instances that are alike.
type instanceSpec struct {
	Names     []string
	NoTickets bool
	Backend   string // host:port of a database
}

type apiSpec struct {
	Delay  time.Duration
	Status int
}

// apiCalls is what the Admin API has seen.
type apiCalls struct {
	Calls int
	Conns int // TCP connections that the calls came over
}

func serveKit(in io.Reader, out io.WriteCloser) error {
	raiseFileLimit()
	s := &kitServer{
		server:  cloudsqltest.NewServer(),
		proxies: map[string]*cloudsqltest.Proxy{},
		clients: map[string]bool{},
	}
	s.server.OnRequest = s.onRequest
	server := rpc.NewServer()
	if err := server.RegisterName("Kit", &kitService{s}); err != nil {
		return err
	}
	server.ServeConn(pipes{in, out}) // until the parent closes the pipe, or ends
	os.Exit(0)                       // thousands of connections need no farewell
	return nil
}

func (s *kitServer) onRequest(r *http.Request) *cloudsqltest.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.clients[r.RemoteAddr] = true
	return s.fault
}

// kitService is what the parent can call.
type kitService struct{ *kitServer }

// Info tells where the Admin API is.
func (s *kitService) Info(_ struct{}, reply *kitInfo) error {
	*reply = kitInfo{s.server.URL(), s.server.Token()}
	return nil
}

// Add adds instances, and returns where their addresses lead.
func (s *kitService) Add(spec instanceSpec, reply *map[string]string) error {
	addrs := map[string]string{}
	for _, name := range spec.Names {
		p := s.server.AddInstance(name, cloudsqltest.Instance{
			NoSessionTickets: spec.NoTickets, Backend: spec.Backend, Handler: serveCommands,
		})
		for _, host := range p.Addrs() {
			addrs[host] = p.Addr().String()
		}
		s.mu.Lock()
		s.proxies[name] = p
		s.mu.Unlock()
	}
	*reply = addrs
	return nil
}

// SetAPI says how the Admin API answers from now on.
func (s *kitService) SetAPI(spec apiSpec, _ *struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = nil
	if spec != (apiSpec{}) {
		s.fault = &cloudsqltest.Fault{Delay: spec.Delay, Status: spec.Status}
	}
	return nil
}

// Calls returns the counts, and begins anew.
func (s *kitService) Calls(_ struct{}, reply *apiCalls) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*reply = apiCalls{s.n, len(s.clients)}
	s.n, s.clients = 0, map[string]bool{}
	return nil
}

// Cut resets all connections to an instance.
func (s *kitService) Cut(name string, _ *struct{}) error {
	s.mu.Lock()
	p := s.proxies[name]
	s.mu.Unlock()
	if p == nil {
		return errors.New("no such instance: " + name)
	}
	p.CutConnections(true)
	return nil
}

// Commands of the protocol that the instances speak: a greeting of one byte,
// then any number of commands, each with a count of bytes.
const (
	cmdDiscard = 'd' // the client sends so many bytes, and gets one
	cmdSend    = 's' // the client gets so many bytes
	cmdEcho    = 'e' // the client gets back each message of so many bytes, until the end
)

const (
	greetingByte = 'k'
	commandSize  = 1 + 8 + 8 // command, count, bytes per Write
)

func command(cmd byte, count, size int) []byte {
	b := binary.BigEndian.AppendUint64([]byte{cmd}, uint64(count))
	return binary.BigEndian.AppendUint64(b, uint64(size))
}

func serveCommands(c net.Conn) {
	if _, err := c.Write([]byte{greetingByte}); err != nil {
		return
	}
	for head := make([]byte, commandSize); ; {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		count, size := int(binary.BigEndian.Uint64(head[1:])), int(binary.BigEndian.Uint64(head[9:]))
		if err := serveCommand(c, head[0], count, size); err != nil {
			return
		}
	}
}

func serveCommand(c net.Conn, cmd byte, count, size int) error {
	buf := make([]byte, size)
	switch cmd {
	case cmdDiscard:
		for left := count; left > 0; {
			n, err := c.Read(buf[:min(left, size)])
			if err != nil {
				return err
			}
			left -= n
		}
		_, err := c.Write(buf[:1])
		return err
	case cmdSend:
		for left := count; left > 0; left -= size {
			if _, err := c.Write(buf[:min(left, size)]); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return err
		}
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
}
