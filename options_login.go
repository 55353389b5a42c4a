package cloudsqlconn

// WithLoginAfterRefresh says whether IAM logins to PostgreSQL are repeated, each over
// a short connection of its own, when there is a new login token. Managed connection
// pooling keeps the token that it has seen last for a user and a database. When that
// has expired it refuses the next login, of this program or of another, with SQLSTATE
// 08P01. Whether an instance pools is not in its metadata. Default: true.
//
// Logins of driver/postgres that went well are repeated, and those of the clients of
// [Dialer.Serve]; not those over connections that the program dials by itself, such
// as for lib/pq, nor those through SQL Data. It happens a few minutes before the token
// expires that the program has last logged in with as this user to this database,
// which for most tokens is an hour after they were issued: a program that logs in
// often enough has no logins repeated. To a read pool, logins are repeated for each
// node.
//
// A login is repeated for as long as a connection is open that began with it, and for
// 72 hours after that. It is forgotten when the database refuses the user or does not
// have the database. No more than 100 are remembered for an instance: newer ones take
// the place of those that have been unused for the longest time. A Dialer with more
// than 64 instances forgets those of an instance that it has not connected to for 3
// hours. A login that fails for other reasons, or is not answered within 10 s, is
// tried again after 30 s, and is logged at Debug. With [WithLazyRefresh], logins are
// repeated when a Dial refreshes the certificate, and at no other time.
func WithLoginAfterRefresh(on bool) DialOption {
	return dialOption(func(d *dialConfig) { d.relogin = on })
}
