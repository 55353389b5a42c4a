package bench

import (
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"sync"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/bench/internal/client"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

// kitServer is the other end of kit, in the child.
type kitServer struct {
	server *cloudsqltest.Server
	front  *httptest.Server // speaks HTTPS, and passes calls on
	stream string           // host:port of SQL Data

	mu        sync.Mutex // guards everything below
	instances map[string]*cloudsqltest.EmulatedInstance
	fault     *cloudsqltest.Fault
	n         int
	clients   map[string]bool // of the Admin API, by address
	passed    map[string]bool // the same, of front
	underWay  int             // calls of front
	atOnce    int             // the most of them
}

// What travels between the processes is exported for net/rpc alone.

// KitInfo tells where the Admin API is.
type KitInfo struct {
	URL, Token string
	SecureURL  string // the same API over HTTPS, and so over HTTP/2
	SQLData    string // host:port of the service
	CA         []byte // of SecureURL and SQLData, PEM
}

// InstanceSpec describes instances that are alike.
type InstanceSpec struct {
	Names     []string
	NoTickets bool
	Silent    bool   // the public address, which comes first, leads nowhere
	Backend   string // host:port of a database
}

// APISpec says how the Admin API answers: how late, and with what status.
type APISpec struct {
	Delay  time.Duration
	Status int
}

// APICalls is what the Admin API has seen.
type APICalls struct {
	Calls  int
	Conns  int // TCP connections that the calls came over
	AtOnce int // calls under way, at most; of SecureURL alone
}

func serveKit(in io.Reader, out io.WriteCloser) error {
	raiseFileLimit()
	s := &kitServer{
		server:    cloudsqltest.NewServer(),
		instances: map[string]*cloudsqltest.EmulatedInstance{},
		clients:   map[string]bool{},
		passed:    map[string]bool{},
	}
	s.server.OnRequest = s.onRequest
	if err := s.startFront(); err != nil {
		return err
	}
	if err := s.startStreams(); err != nil {
		return err
	}
	return serveCalls("Kit", &kitService{s}, in, out)
}

// startFront starts what speaks HTTPS for the Admin API.
func (s *kitServer) startFront() error {
	to, err := url.Parse(s.server.URL())
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 1000},
	}
	s.front = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.passed[r.RemoteAddr] = true
		s.underWay++
		s.atOnce = max(s.atOnce, s.underWay)
		s.mu.Unlock()
		proxy.ServeHTTP(w, r)
		s.mu.Lock()
		s.underWay--
		s.mu.Unlock()
	}))
	s.front.EnableHTTP2 = true
	s.front.StartTLS()
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
func (s *kitService) Info(_ struct{}, reply *KitInfo) error {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.front.Certificate().Raw})
	*reply = KitInfo{s.server.URL(), s.server.Token(), s.front.URL, s.stream, ca}
	return nil
}

// Add adds instances, and returns where their addresses lead. A single one is at
// its addresses themselves where the system has them, so that subjects can dial
// as they do by default.
func (s *kitService) Add(spec InstanceSpec, reply *map[string]string) error {
	addrs := map[string]string{}
	direct := runtime.GOOS == "linux" && len(spec.Names) == 1 && !spec.Silent
	for _, name := range spec.Names {
		p := s.server.AddInstance(name, cloudsqltest.Instance{
			NoSessionTickets: spec.NoTickets, Backend: spec.Backend, Handler: serveCommands, ListenOn3307: direct,
		})
		for kind, host := range p.Addrs() {
			switch {
			case direct:
				addrs[host] = net.JoinHostPort(host, client.Port)
			case !spec.Silent || kind != cloudsqlconn.PublicIP:
				addrs[host] = p.Addr().String()
			}
		}
		s.mu.Lock()
		s.instances[name] = p
		s.mu.Unlock()
	}
	*reply = addrs
	return nil
}

// SetAPI says how the Admin API answers from now on.
func (s *kitService) SetAPI(spec APISpec, _ *struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = nil
	if spec != (APISpec{}) {
		s.fault = &cloudsqltest.Fault{Delay: spec.Delay, Status: spec.Status}
	}
	return nil
}

// Calls returns the counts, and begins anew.
func (s *kitService) Calls(_ struct{}, reply *APICalls) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := s.clients
	if len(s.passed) > 0 {
		conns = s.passed
	}
	*reply = APICalls{s.n, len(conns), s.atOnce}
	s.atOnce, s.n, s.clients, s.passed = 0, 0, map[string]bool{}, map[string]bool{}
	return nil
}

// Cut resets all connections to an instance.
func (s *kitService) Cut(name string, _ *struct{}) error {
	s.mu.Lock()
	p := s.instances[name]
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

func serveCommands(c net.Conn) { serve(c) }

func serve(c io.ReadWriter) {
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

func serveCommand(c io.ReadWriter, cmd byte, count, size int) error {
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
