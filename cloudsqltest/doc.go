// Package cloudsqltest emulates Cloud SQL for tests: the SQL Admin API and,
// for every instance, the server-side proxy that clients connect to. Code that
// uses a Dialer runs against it unchanged, without Google, credentials or a
// network:
//
//	server := cloudsqltest.NewServer()
//	defer server.Close()
//	server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{Backend: "127.0.0.1:5432"})
//	dialer, err := cloudsqlconn.NewDialer(ctx, server.Options()...)
//
// It behaves like the real thing rather than replaying answers: certificates
// are signed, expire and are checked, CAs rotate, tokens are required, sessions
// resume, and connections are forwarded to a database ([Instance].Backend) or to
// a Handler of your own.
//
// It is in the style of net/http/httptest: it knows nothing of *testing.T,
// panics on mistakes in the test's own setup, and Close waits for everything it
// started and names what does not end.
//
// # What is in it, by job
//
//   - The Admin API and the network to the instances: [Server]. Who may ask: its
//     Token, Principals and Quota. Names for addresses: [DNS], [DNSServer].
//   - An instance: [Instance] describes it, and [Server.AddInstance] makes an
//     [EmulatedInstance] of that, which can be stopped, moved, cut off, and given
//     new certificates. The same for the nodes of a read pool: [Node], [PoolNode].
//   - What an instance is like: [CAMode], [MetadataExchange], [Pooler], [State].
//   - The database behind it: [Instance].Backend, or a Handler, such as [Echo], which
//     gets a [Conn] or a [StreamConn]; see the packages dbtest and tds.
//   - SQL Data: [Server.ServeSQLData], [SQLData].
//   - What goes wrong: [Fault] with requests, [Behavior] with connections,
//     [StreamFault] with streams, [DNSFault] with questions; a [Rule] says it in
//     words.
//   - What has happened: [EmulatedInstance.Counts], [Server.Requests], [Server.Hits],
//     [SQLData.Streams], [SQLData.Counts], [DNS.Queries], and [Server].Logger.
//
// Start with [NewServer], or [NewMemoryServer] for tests on fake time, and the
// examples.
//
// # Databases
//
// The package dbtest starts a private PostgreSQL, MariaDB or MySQL server from what
// is installed, without a container; pass what its Instance method returns to
// [Server.AddInstance]. A machine with none of them can run a database in the test's
// own process: the module embedded has pgsqlite, which is SQLite behind
// PostgreSQL's protocol, and mysqlmemory, MySQL in pure Go; both serve as a Handler.
// The package tds does so for SQL Server, with answers that the test scripts.
//
// # Real and fake time
//
// [NewServer] listens on loopback. [NewMemoryServer] has an in-memory network:
// in a bubble of testing/synctest, where an hour takes no time, certificates
// expire and are renewed within a test of milliseconds.
//
//	synctest.Test(t, func(t *testing.T) {
//		server := cloudsqltest.NewMemoryServer()
//		defer server.Close()
//		...
//		time.Sleep(59 * time.Minute)
//
// A Dialer reaches the instances of both through [Server.DialContext], which
// [Server.Options] includes: the addresses in the metadata are not real, and
// no port 3307 is needed. Connectors that cannot be given a dial function find
// an instance with ListenOn3307 where the metadata says it is. The program
// cmd/cloudsql-emulator makes all this available to connectors in any language.
//
// # Domain names
//
// [NewDNS] returns a DNS with the records that a test gives it. It is itself a
// resolver, on fake time too, and [DNS.Listen] starts a real DNS server, for
// programs that cannot be given a resolver. The Admin API's resolveConnectSettings
// knows instances by [Instance].DNSNames and their PSC names.
//
// # SQL Data
//
// [Server.ServeSQLData] starts the SQL Data service: Google's gRPC service that
// carries the bytes of a database connection in a stream, on the host of the
// Admin API. It connects to the Backend, IAMBackend or Handler of the instances
// that have [Instance].SQLData, and refuses the others, as Google refuses
// editions other than DEVELOPER. [Server.Options] then includes its address:
//
//	server.ServeSQLData(cloudsqltest.SQLDataConfig{})
//	server.AddInstance("my-project:europe-west1:my-db", cloudsqltest.Instance{SQLData: true})
//	dialer, err := cloudsqlconn.NewDialer(ctx, append(server.Options(),
//		cloudsqlconn.WithSQLData(cloudsqlconn.SQLDataOnly))...)
//
// It speaks cleartext HTTP/2, or TLS with a CA of its own ([SQLDataConfig].TLS,
// [SQLData.CA]), as Google's clients require. It works in a bubble, too, where
// idle streams and their pings last for hours of fake time.
//
// A stream needs [Server.Token], or a token with a principal, and the header
// x-goog-request-params with the location and the instance of its
// start_session; the region must be the instance's. The answer is a
// SessionMetadata without features, and then what the database sends, in
// messages of 32 KiB at most. The end of the client's messages is passed on to
// the database, which can still answer. terminate_session and RST_STREAM close
// its connection. With authentication_type 2 the connection is an IAM login with
// the stream's own token: to IAMBackend, and as the user of its principal in
// [Server].Principals. [SQLData.Streams] returns what each client has sent, and
// how the client and the service have ended the stream.
//
// # Faults
//
// Each fault is counted, so that a test can assert that it really happened.
//
// With an Admin API request, what [Server.OnRequest] returns goes wrong.
// [Server.Hits] counts it, and [Server.Requests] lists all requests:
//
//   - late, or never answered: [Fault].Delay, Hang
//   - another status, body or header: Status, Body (see [ErrorBody]), Header
//   - altered, or cut short as if complete: Alter
//   - reset, or ended, before or in the middle of headers and body: ResetAt, CutAt
//   - only a few times, and then good: Times
//   - more requests a minute than a user is allowed: [Server].Quota (Status 429)
//   - revoked or wrong tokens: Status 401 or 403; a request without [Server.Token] gets 401 without any fault
//
// With an instance, counted by [EmulatedInstance.Counts] as given in parentheses:
//
//   - stopped, and started again: [EmulatedInstance.Stop], [EmulatedInstance.Start] (Cut, Refused)
//   - stopped by an administrator, suspended, starting, in maintenance: [EmulatedInstance.SetState] (Cut, Refused; Status 409 in Requests)
//   - open connections ended by FIN or RST: [EmulatedInstance.CutConnections] (Cut)
//   - SYNs swallowed: [Unreachable]; at one address: [Server.Swallow] (Swallowed)
//   - accepted, then silence: [Silent] (Silent)
//   - the handshake stalled: [StallHandshake] (Stalled)
//   - accepted, then ended by FIN or RST: [CloseAtOnce], [ResetAtOnce] (Dropped)
//   - these for all connections from now on: [EmulatedInstance.SetBehavior]; for the next n: [EmulatedInstance.SetBehaviorFor]; for some: [Server].OnConnect
//   - an IAM login as a user other than the token's: [Server].Principals, [Instance].IAMUsers (Denied)
//   - an IAM login when the token that a pooler keeps has expired: [Instance].Pooler (Expired)
//   - the server CA rotated: [EmulatedInstance.RotateServerCA] (Distrusted, by clients that know the previous one)
//   - a server certificate expired, not valid yet, or for another name: [EmulatedInstance.AlterServerCert], [Instance].AlterServerCert (Distrusted)
//   - the client CA rotated: [EmulatedInstance.RotateClientCA] (Rejected, with certificates from before)
//   - client certificates with short lives, or expired from the start: [EmulatedInstance.SetCertTTL], [Instance].CertTTL (Rejected)
//   - client certificates not valid yet, or altered otherwise: [EmulatedInstance.AlterClientCert], [Instance].AlterClientCert (Rejected)
//   - the instance's clock ahead: [Instance].ClockSkew (Rejected)
//   - a refusal that may surface in a Write of the client's: [CloseAfterRefusal] with one of these (Rejected)
//   - moved to other addresses: [EmulatedInstance.SetAddrs] (Refused, at the old ones)
//   - answers of other shapes, fields that no client knows: [Instance].AlterSettings
//   - any other server certificate: [Instance].ServerCert
//   - deleted, and created again: [Server.DeleteInstance], [Server.AddInstance] (Refused; Status 404 in Requests)
//   - the database down: nothing listens at [Instance].Backend (Unserved); the client sees its connection end without a word, and
//     no hint, as nothing tells it apart from a crash. With a Handler: one that returns at once, or Stop and SetState above
//   - no sessions to resume: [Instance].NoSessionTickets (Resumed stays 0)
//
// With a stream of SQL Data, what [Server].OnStream returns goes wrong, or what
// [EmulatedInstance.SetStreamFault] was given. [SQLData.Hits] counts it:
//
//   - late, or never answered: [StreamFault].Delay, Hang
//   - ended by any status at once, with the metadata, with the first data, or some time later: Status, At, After (see [StreamStatus])
//   - the metadata with the first data, or never: Metadata
//   - nothing is read: StopReading
//   - endless data, or a message of 101 MiB: Flood, FloodMessages
//   - unknown messages, empty data, acks: Noise
//   - messages of one byte, or of a MiB: Chunk
//   - the database's end of the connection announced by CANCELLED, by terminate_session, or by OK: End
//   - only a few times, and then good: Times
//   - open streams ended with a status: [EmulatedInstance.EndStreams]; with ABORTED, as the instance is lost: [EmulatedInstance.CutConnections], [EmulatedInstance.Stop]
//   - the instance not served: an [Instance] without SQLData
//
// With the service's TCP connections, which streams share, counted by
// [SQLData.Counts] as given in parentheses:
//
//   - no more streams on one: [SQLDataConfig].MaxStreams
//   - told to go away by GOAWAY, with or without grace: [SQLData.GoAway] (GoneAway, Cut)
//   - ended by FIN or RST: [SQLData.CutConnections] (Cut)
//   - swallowed from now on, both ways: [SQLData.BlackHole] (BlackHoled)
//   - ended for too many pings: [SQLDataConfig].MinPingInterval (TooManyPings)
//   - silent, ended when accepted, or not even accepted: [SQLData.SetBehavior] (Silent, Dropped, Swallowed)
//   - the service stopped, and started again: [SQLData.Close], [Server.ServeSQLData] (Refused)
//
// With a domain name, what [DNS.Fail] was given goes wrong. [DNS.Hits] counts it,
// and [DNS.Queries] lists all questions:
//
//   - SERVFAIL, NXDOMAIN, REFUSED: [DNSFault].Code
//   - late, or never answered: Delay, Hang
//   - questions for one type of record only: Type
//   - only a few times, and then good: Times
//   - records that change, are wrong, or form a loop: [DNS.SetTXT], [DNS.SetSplitTXT], [DNS.SetCNAME], [DNS.SetHost], [DNS.Remove]
//   - answers that are too long for UDP: a long text in SetTXT ([DNSServerCounts])
//
// A [Rule] says in words which of the simpler faults happen where, and how often:
// [ParseRule], [Server.AddRule].
//
// One node of a read pool ([Instance].Nodes) can be stopped, moved, or made to
// misbehave with the methods of [PoolNode]; [PoolNode.Counts] counts that, and
// shows how connections are spread.
//
// # What is not emulated
//
// The emulation follows what is publicly known of Cloud SQL. It covers the Admin
// API's connectSettings, generateEphemeralCert and resolveConnectSettings, in v1
// and v1beta4, and the TLS connection of the server-side proxy. Server certificates
// look like published ones, see [CAMode]; the CAs of client certificates have ECDSA
// keys, and the login token is in a certificate extension of our own. IAM
// permissions are not modelled, only tokens, and permission is denied in a project
// that has never had an instance. Tokens do not expire.
// The user name of an IAM login is checked if it is sent in clear and in the
// first login of a connection: TLS inside the connection is not offered then, and
// a change of user in MySQL goes unnoticed. A quota starts afresh a minute after
// its first request.
// There is no reverse DNS.
//
// SQL Data is little documented by Google: its messages are emulated as published,
// and its texts as its clients know them; sessions are not resumed, and
// first_byte_offset is always 0. What Google's service does with an inner TLS, with
// pings, and after its own terminate_session is not public.
//
// # What Google's clients do
//
// Seen with cloud.google.com/go/cloudsqlconn v1.26.0 (Go), the Cloud SQL Auth
// Proxy v2.27.0, npm @google-cloud/cloud-sql-connector 1.13.0 (Node), PyPI
// cloud-sql-python-connector 1.23.0 (Python), and of com.google.cloud.sql for
// Java the JDBC socket factories 1.28.3 and cloud-sql-connector-r2dbc-postgres
// 1.28.1 (R2DBC) against this package, by the tests of the module interop:
//
//   - After a rotation of the client CA, Go, the proxy, Java and R2DBC present no
//     certificate at all, since they follow the CA list in the server's request;
//     that counts as Failed. Node and Python present the old one, which counts as
//     Rejected. All but Java and R2DBC then ask for another certificate; new
//     connections of these two fail, and bring no refresh forward.
//   - After a rotation of the server CA, Go, the proxy and Python fail one
//     connection; Node fails until its refresh is done, for a second or more, and
//     Java for up to half a minute. R2DBC does not ask for the new CA when a new
//     connection fails.
//   - Python does not check that the server certificate is for the instance: any
//     from its CA will do. All others do.
//   - R2DBC speaks TLS 1.2 only, with IAM login too: in TLS 1.2 certificates, and the
//     login tokens in them, are not encrypted. All others speak TLS 1.3.
//   - Node requires the expirationTime of serverCaCert. It prefers PSC names under
//     sql-psc.goog, and does not check whether its certificate has expired before it
//     connects; neither do Java and R2DBC.
//   - Node opens a connection after each refresh of an IAM login with PostgreSQL,
//     sends a startup message, reads the first answer and leaves.
//   - The proxy's user agent is that of Go followed by cloud-sql-proxy and its
//     version; Node's is cloud-sql-nodejs-connector and google-api-nodejs-client;
//     Python's is cloud-sql-python-connector with the driver's name; Java and R2DBC
//     name only Google's libraries.
//   - The proxy announces UDS in the metadata exchange on a unix socket, and Java with
//     MySQL announces TLS; no other client takes part in it.
//   - The proxy and Go send metrics to Google unless
//     --enable-builtin-metrics=false or WithBuiltInMetrics(false) is given.
//   - With a certificate that is valid for less than 4 minutes, Go and Python refresh
//     at once, and then every 30 s. With lazy refresh, a connection within the last
//     4 minutes asks for another one first; Node has no lazy refresh.
//   - The proxy takes tokens passed as flags to be expired: with --login-token, a
//     connection can wait half a minute for its certificate.
//   - Java and R2DBC send the body of generateEphemeralCert compressed, with
//     Content-Encoding: gzip.
//   - For IAM login, Java and Node embed the same token that they were given, if
//     it was a bare one; Python refreshes a copy of the credentials, for the
//     login's scope.
//   - Java and R2DBC ask for tokens with the scopes sqlservice.admin and
//     cloud-platform together. They refuse a workload identity whose tokens come
//     from loopback over HTTP; Python asks Google for the project of one.
//
// Of these, Go, the proxy, Node and Python speak SQL Data:
//
//   - They ask for no certificate.
//   - None can resume a session: there is no session_id, no ack, and
//     first_byte_offset is always 0.
//   - None asks for an IAM login: authentication_type is 0, and the database asks for
//     a password.
//   - Go, the proxy and Python give a stream two hours, Node 30 s, whatever its
//     sqlDataStreamTimeout says: that is when its connections end.
//   - In x-goog-request-params, Go and the proxy put location_id first, Node and
//     Python instance_id.
//   - The user agents of Go and the proxy end in grpc-go and its version; those of
//     Node and Python begin with grpc-node-js and grpc-python and their versions.
//   - With [EditionRefusal] all fall back to an address; with another text and
//     FAILED_PRECONDITION, such as [TunnelRefusal], only Node and Python do.
//   - Go loses what was written right before Close, has no deadlines, waits in Dial
//     at the limit of streams, notices no dead network, and leaves an instance alone
//     for longer with each connection of a burst that is refused: INTEROP.md has
//     the outcomes.
//   - Published, but not tested: they accept no endpoint without TLS; Node ends a
//     stream with terminate_session; Go v1.27.0 asks for an IAM login, with an
//     authentication_type of 2.
package cloudsqltest
