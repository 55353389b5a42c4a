package cloudsqlconn

// The steps that [Error].Op names.
const (
	OpConfig    = opConfig    // options, or a data source name
	OpResolve   = opResolve   // the name, to an instance
	OpRefresh   = opRefresh   // the Admin API: metadata and client certificate
	OpDial      = opDial      // TCP
	OpHandshake = opHandshake // TLS, up to the server's first byte
	OpStream    = opStream    // SQL Data, in place of the two before
	OpLogin     = "login"     // the database; of the packages under driver/ alone
)
