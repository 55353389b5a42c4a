package cloudsqlconn

import (
	"cmp"
	"slices"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/telemetry"
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
	Expiry            time.Time           // of the certificate, or of the login token in it if that is sooner

	// LastError is why the last refresh failed, nil if it did not: the [*Error]
	// that a Dial returns for it, with its hint. Attempts is how many have failed since
	// the last success.
	LastError error
	Attempts  int

	Refreshing bool             // a refresh is in progress
	History    []RefreshAttempt // the last 16 refreshes that have ended, the latest last

	// SQLDataUnserved is the time until which Dials with SQLDataPrefer use an address
	// at once, since SQL Data does not serve the instance; SQLDataCooldown is when SQL
	// Data is asked again after it was exhausted. Zero: not the case.
	SQLDataUnserved time.Time
	SQLDataCooldown time.Time

	OpenConnections         int64
	BytesRead, BytesWritten int64 // over all connections, closed ones included
}

// RefreshAttempt describes a refresh that has ended.
type RefreshAttempt struct {
	Time     time.Time // when it began
	Duration time.Duration
	Forced   bool   // by a Dial that had failed; otherwise it was due, or the first
	Hedges   int    // calls that were made a second time, since they had not been answered
	Error    string // why it failed, cut after some 500 bytes; "" if it did not
}

// Instances returns a snapshot of all instances that have been dialled or warmed
// up, sorted by name. An instance used both with passwords and with IAM login
// appears twice.
func (d *Dialer) Instances() []InstanceStatus {
	connectors := d.connectors.All()
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
	cached := c.known.Cache.Status()
	s := InstanceStatus{
		Name:            c.key.name,
		IAMAuthN:        c.key.iam,
		LastRefresh:     cached.Fetched,
		Attempts:        cached.Attempts,
		Refreshing:      cached.Fetching,
		OpenConnections: c.open.Load(),
		BytesRead:       c.read.Load(),
		BytesWritten:    c.written.Load(),
	}
	if cached.Err != nil {
		s.LastError = c.newError(OpRefresh, cached.Err)
	}
	s.SQLDataUnserved = c.streams.UnservedUntil()
	s.SQLDataCooldown = c.streams.CoolingUntil()
	for _, a := range c.known.Cache.History() {
		s.History = append(s.History, RefreshAttempt{Time: a.Began, Duration: a.Duration, Forced: a.Forced, Hedges: a.Noted, Error: a.Err})
	}
	if info := cached.Value; info != nil {
		s.DatabaseVersion = info.DatabaseVersion
		s.Expiry = cached.Expiry
		s.CertificateExpiry = info.Certificate.NotAfter
		s.Addrs = map[IPType][]string{}
		for kind, addrs := range info.Addrs {
			s.Addrs[IPType(kind)] = slices.Clone(addrs)
		}
	}
	return s
}

// read tells the gauges of every instance.
func (d *Dialer) read(report func(*telemetry.Instance, telemetry.Reading)) {
	connectors := d.connectors.All()
	for _, c := range connectors {
		report(c.seen.Instance, telemetry.Reading{
			Expiry:  c.known.Cache.Status().Expiry,
			Open:    c.open.Load(),
			Read:    c.read.Load(),
			Written: c.written.Load(),
		})
	}
}
