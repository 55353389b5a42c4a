package cloudsqlconn

import (
	"context"

	"github.com/cloudsqlconn/cloudsqlconn/internal/sqldata"
	"github.com/cloudsqlconn/cloudsqlconn/internal/streams"
)

func (sqlDataWay) check(ctx context.Context, c *check, n Name, named, authorised bool) (addresses bool) {
	return c.stream(ctx, n, named, authorised)
}

// stream takes the hops SQL Data and database, and reports whether addresses are
// the way to the instance n, since SQL Data does not serve it.
func (c *check) stream(ctx context.Context, n Name, named, authorised bool) (addresses bool) {
	switch {
	case !named:
		c.skip(HopStream, "no instance to ask for")
	case !authorised:
		c.skip(HopStream, "no token")
	}
	if !named || !authorised {
		c.skip(HopDatabase, "no stream")
		return false
	}
	var (
		target = c.d.cfg.serviceEndpoint().Addr()
		conn   *sqldata.Conn
	)
	c.step(ctx, HopStream, target, func() (found string, err error) {
		service, err := c.d.streamService()
		if err != nil {
			return "", err
		}
		conn, err = service.Open(ctx, c.dc.call(n, c.dc.iam))
		switch {
		case err != nil:
			return "", err
		case !conn.Answered():
			return "no answer yet, which may come with the first byte", nil
		}
		return "the service accepts the session", nil
	})
	if conn == nil {
		if c.elsewhere() {
			return true
		}
		c.skip(HopDatabase, "no stream")
		return false
	}
	defer func() { _ = conn.Close() }()
	// PostgreSQL is what SQL Data serves. Nothing tells the engine in this way.
	c.step(ctx, HopDatabase, target, func() (string, error) { return hear(ctx, conn, conn, greetPostgres) })
	return c.elsewhere()
}

// elsewhere reports whether the last hop has failed since SQL Data does not serve
// the instance, and an address may be taken. It is no failure then.
func (c *check) elsewhere() bool {
	last := &c.report.Steps[len(c.report.Steps)-1]
	if c.dc.sqlData != SQLDataPrefer || !streams.Unserved(last.Err) {
		return false
	}
	last.Result, last.Detail = Skipped, printable("addresses are tried instead: "+causeOf(last.Err).Error())
	last.Err, last.Hint = nil, ""
	return true
}
