// Package interop tests the kit of this module, cloudsqltest, with the clients
// that Google publishes for Cloud SQL, each in front of a real PostgreSQL and a
// real MariaDB:
//
//   - cloud.google.com/go/cloudsqlconn, with its drivers for pgx,
//     go-sql-driver/mysql and go-mssqldb (the last one in front of the kit's SQL
//     Server, since no real one can be installed for a test)
//   - the Cloud SQL Auth Proxy, with psql and mariadb
//   - @google-cloud/cloud-sql-connector for Node.js, with pg and mysql2
//
// The first run builds the proxy and installs the npm packages of node/; both
// are kept in the user's cache folder, and the next runs take them from there.
// Without a program that a test needs, it is skipped; with CI=true it fails.
//
// The command cmd/scenarios puts the Dialer of this module and the one of
// cloud.google.com/go/cloudsqlconn through the same faults and writes the table
// in INTEROP.md.
package interop
