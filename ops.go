package cloudsqlconn

// The steps that [Error].Op names.
const (
	OpConfig    = "configure" // options, or a data source name
	OpResolve   = "resolve"   // the name, to an instance
	OpRefresh   = "refresh"   // the Admin API: metadata and client certificate
	OpDial      = "dial"      // TCP
	OpHandshake = "handshake" // TLS, up to the server's first byte
	OpStream    = "stream"    // SQL Data, in place of the two before
	OpLogin     = "login"     // the database; of the packages under driver/
)
