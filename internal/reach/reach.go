// Package reach opens verified connections to an instance: by the first of its
// addresses that leads there, over TCP, perhaps through a proxy, and with TLS. It
// knows nothing of caches, of the names of instances, and of options.
package reach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/failure"
	"github.com/cloudsqlconn/cloudsqlconn/internal/foreign"
	"github.com/cloudsqlconn/cloudsqlconn/internal/race"
	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
	"github.com/cloudsqlconn/cloudsqlconn/internal/tlsconn"
)

// Port is where every instance's server-side proxy listens, whatever the engine.
const Port = "3307"

// portNumber is Port, as OpenTelemetry wants it.
var portNumber, _ = strconv.Atoi(Port)

const (
	// nodeRest is how long a node that refuses connections comes last.
	nodeRest = 30 * time.Second

	// minSilence is how long an address must have been silent to come last.
	minSilence = 250 * time.Millisecond
)

// Instance opens connections to one instance, and remembers which addresses have
// led nowhere. Its methods are safe for concurrent use.
type Instance struct {
	// Seen is told of each connection and each handshake.
	Seen *telemetry.Instance

	// Overtaken is told of addresses that have not answered, so that another one
	// was used.
	Overtaken func(ctx context.Context, silent []string, by string)

	// Signs makes TLS handshakes.
	Signs Signs

	memory race.Memory
	turns  atomic.Uint32 // of a read pool's nodes
}

// Target is where a connection is to lead.
type Target struct {
	Types   []string // of address, in their order
	Hosts   []string // that come before those of the instance: of the DNS name that was dialled
	Only    string   // the one host to try; "": any
	Domain  string   // the DNS name that was dialled, or ""
	AnyName bool     // the server's certificate need not be for Domain
	Way     *Way
}

// Forget forgets which addresses have led nowhere.
func (i *Instance) Forget() { i.memory.Forget() }

// Connect opens a connection by the first address that leads to the instance, and
// returns that address too. Addresses are tried one beside the other, but TLS only on
// one at a time. The error has an [*Error] or a [*NoAddressError] in it.
func (i *Instance) Connect(ctx context.Context, info *admin.Info, to *Target) (*tlsconn.Conn, string, error) {
	hosts, fresh := i.candidates(info, to)
	if len(hosts) == 0 {
		return nil, "", NoAddress(info, to.Types)
	}
	run := race.New(ctx, hosts, fresh, func(ctx context.Context, host string) (net.Conn, error) { return i.openTCP(ctx, host, to.Way) })
	run.Prompt = !to.Way.Foreign
	defer run.Stop()
	var (
		failed []*AddrError
		astray []string // hosts at which another server answers
	)
	for try, more := run.Next(); more; try, more = run.Next() {
		step := StepTCP
		if try.Err == nil {
			try = run.Use(try, func(ctx context.Context, try race.Try) (net.Conn, error) { return i.secure(ctx, try, info, to) })
			if try.Err == nil {
				i.memory.Defer(race.Rest, append(astray, run.Unanswered()...)...)
				i.Overtaken(ctx, run.Unanswered(), try.Host)
				i.memory.Good(try.Host)
				return try.Conn.(*tlsconn.Conn), try.Host, nil
			}
			step, astray = StepTLS, append(astray, try.Host)
		}
		switch {
		case try.Silent && try.Took >= minSilence:
			i.memory.Defer(race.Rest, try.Host)
		case len(info.Nodes) > 0 && !failure.Over(ctx):
			i.memory.Defer(nodeRest, try.Host)
		}
		failed = append(failed, newAddrError(try, step, info, to.Domain))
	}
	slices.SortFunc(failed, func(a, b *AddrError) int { return cmp.Compare(a.nth, b.nth) })
	return nil, "", failure.Ended(ctx, &Error{Addrs: failed, Others: OtherTypes(info, to.Types)})
}

// openTCP opens the TCP connection to a host.
func (i *Instance) openTCP(ctx context.Context, host string, way *Way) (net.Conn, error) {
	ctx, span := i.Seen.Connect(ctx, host, portNumber)
	conn, err := way.Open(ctx, net.JoinHostPort(host, Port))
	if err == nil {
		span.Peer(conn.RemoteAddr())
	}
	span.End(err)
	return conn, err
}

// secure makes the connection of a try a verified one, or closes it.
func (i *Instance) secure(ctx context.Context, try race.Try, info *admin.Info, to *Target) (net.Conn, error) {
	ctx, span := i.Seen.Handshake(ctx, try.Host, portNumber)
	conn := tlsconn.Client(try.Conn, info.TLS(to.Domain, to.AnyName))
	err := i.Signs.Handshake(ctx, conn)
	if err != nil {
		_ = try.Conn.Close()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the other side ended the connection: %w", err)
		}
	}
	span.End(err)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Signs says who signs with the client key.
type Signs int

const (
	// Here is crypto, which takes no time to speak of.
	Here Signs = iota
	// Elsewhere is a key of the program's own, which may not come back.
	Elsewhere
)

// Handshake makes conn a TLS connection. It returns when ctx ends, whatever the
// key does.
func (s Signs) Handshake(ctx context.Context, conn interface{ HandshakeContext(context.Context) error }) error {
	if s == Here {
		return conn.HandshakeContext(ctx)
	}
	_, err := foreign.Call(ctx, func() (struct{}, error) { return struct{}{}, conn.HandshakeContext(ctx) })
	return err
}
