package cloudsqlconn

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// InstanceStatus is what a Dialer knows about one instance, for people and
// health checks.
type InstanceStatus struct {
	Name     Name
	IAMAuthN bool // the certificate is for IAM login

	// Metadata and certificate; empty before the first refresh has succeeded.
	DatabaseVersion   string              // such as POSTGRES_16
	Addrs             map[IPType][]string // the addresses that the instance has
	CertificateExpiry time.Time           // of the client certificate
	LastRefresh       time.Time           // when they were fetched

	// LastError is why the last refresh failed, nil if it did not; Attempts is
	// how many have failed since the last success.
	LastError error
	Attempts  int

	OpenConnections         int64
	BytesRead, BytesWritten int64 // over all connections, closed ones included
}

// Instances returns a snapshot of all instances that were dialled or warmed
// up, in the order of their names. An instance used with passwords and with
// IAM login appears twice.
func (d *Dialer) Instances() []InstanceStatus {
	d.mu.Lock()
	connectors := slices.Collect(maps.Values(d.connectors))
	d.mu.Unlock()
	all := make([]InstanceStatus, len(connectors))
	for i, c := range connectors {
		all[i] = c.status()
	}
	slices.SortFunc(all, func(a, b InstanceStatus) int {
		return cmp.Or(cmp.Compare(a.Name.String(), b.Name.String()), compareBool(a.IAMAuthN, b.IAMAuthN))
	})
	return all
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (c *connector) status() InstanceStatus {
	cached := c.cache.Status()
	s := InstanceStatus{
		Name:            c.key.name,
		IAMAuthN:        c.key.iam,
		LastRefresh:     cached.Fetched,
		LastError:       cached.Err,
		Attempts:        cached.Attempts,
		OpenConnections: c.open.Load(),
		BytesRead:       c.read.Load(),
		BytesWritten:    c.written.Load(),
	}
	if info := cached.Value; info != nil {
		s.DatabaseVersion = info.DatabaseVersion
		s.CertificateExpiry = info.Certificate.NotAfter
		s.Addrs = map[IPType][]string{}
		for kind, addrs := range info.Addrs {
			s.Addrs[IPType(kind)] = slices.Clone(addrs)
		}
	}
	return s
}
