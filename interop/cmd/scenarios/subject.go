package main

import (
	"context"
	"runtime/debug"

	"github.com/cloudsqlconn/cloudsqlconn/interop/internal/clients"
)

// settings are options that the clients have, but not all of them all. The zero
// value takes the defaults.
type settings struct {
	lazy     bool
	psc      bool // over the emulated network
	dns      bool // names are looked up with the kit's DNS
	iam      bool
	noExpiry bool // tokens do not say when they expire
}

// subject is a client under test.
type subject struct {
	name    string
	product string // what it is called where it is published
	version string

	// peer starts the program that open needs; nil: none.
	peer    func() (*clients.Peer, error)
	open    func(context.Context, *world) (client, error)
	streams func(context.Context, *streamWorld) (streamClient, error) // nil: no SQL Data
	// database says that the client gives out no connection but a driver's: a
	// PostgreSQL has to stand behind the instance.
	database bool

	noLazy, noPSC, noDNS string // why the client cannot have the setting
}

// client is a connector. Its methods are safe for concurrent use.
type client interface {
	// Connect makes a new connection, and has the instance answer on it.
	Connect(ctx context.Context) error
	Close() error
}

// unlike is why a client cannot be given names that only a test knows.
const unlike = "it takes addresses of names from the system, which no program can be given for a test"

var subjects = []subject{
	{
		name: "ours", product: "github.com/cloudsqlconn/cloudsqlconn", version: "of this repository",
		open: openOurs, streams: openOurStreams,
	},
	{
		name: "Go", product: googleModule, version: moduleVersion(googleModule),
		open: openGoogle, streams: openGoogleStreams,
	},
	{
		name: "Auth Proxy", product: "Cloud SQL Auth Proxy", version: clients.AuthProxyVersion,
		open: openAuthProxy, streams: openProxyStreams,
		noPSC: unlike, noDNS: "it asks the system's DNS server, which no program can be given for a test",
	},
	{
		name: "Node", product: "@google-cloud/cloud-sql-connector", version: clients.NodeVersion(),
		peer: func() (*clients.Peer, error) { return clients.StartNode("") },
		open: openPeer(clients.Bare), streams: openNodeStreams,
		noLazy: "it has no lazy refresh", noPSC: unlike,
	},
	{
		name: "Python", product: "cloud-sql-python-connector", version: clients.PythonVersion(),
		peer: func() (*clients.Peer, error) { return clients.StartPython("") },
		open: openPeer("asyncpg"), database: true,
		noPSC: unlike,
	},
	{
		name: "Java", product: "com.google.cloud.sql:postgres-socket-factory", version: clients.JavaVersion(),
		peer: clients.StartJava, open: openPeer(clients.Bare),
		noPSC: unlike, noDNS: "it asks the system's DNS server, which no program can be given for a test",
	},
}

const googleModule = "cloud.google.com/go/cloudsqlconn"

func moduleVersion(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				return m.Version
			}
		}
	}
	return ""
}

// lacks returns why the client cannot have all these settings, or "".
func (s subject) lacks(want settings) string {
	switch {
	case want.lazy && s.noLazy != "":
		return s.noLazy
	case want.psc && s.noPSC != "":
		return s.noPSC
	case want.dns:
		return s.noDNS
	}
	return ""
}
