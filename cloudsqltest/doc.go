// Package cloudsqltest emulates Cloud SQL for tests: the SQL Admin API and,
// for every instance, the server-side proxy that clients connect to.
//
// It behaves like the real thing rather than replaying answers: certificates
// are signed, expire and are checked, CAs rotate, tokens are required, and
// connections are forwarded to a database or to a handler of your own. Faults
// are injected on demand, per request ([Server.OnRequest]) and per instance
// (the methods of [Proxy]).
//
// It is in the style of net/http/httptest: it knows nothing of *testing.T,
// panics on mistakes in the test's own arrangement, and Close waits for
// everything it started. [NewServer] listens on loopback; [NewMemoryServer]
// uses a network in memory, for tests on fake time.
//
// What is emulated follows what is publicly known of Cloud SQL, with these
// differences: keys of servers and CAs are ECDSA (Cloud SQL's are RSA), the
// login token stands in a certificate extension of our own, and IAM
// permissions are not modelled, only tokens.
package cloudsqltest
