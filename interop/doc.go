// Package interop tests the kit of this module, cloudsqltest, with the clients
// that Google publishes for Cloud SQL, each in front of a real PostgreSQL and a
// real MariaDB:
//
//   - cloud.google.com/go/cloudsqlconn, with its drivers for pgx,
//     go-sql-driver/mysql and go-mssqldb (the last one in front of the kit's SQL
//     Server, since no real one can be installed for a test)
//   - the Cloud SQL Auth Proxy, with psql and mariadb
//   - @google-cloud/cloud-sql-connector for Node.js, with pg and mysql2
//   - cloud-sql-python-connector, with pg8000, psycopg, asyncpg, pymysql, python-tds
//     (in front of the kit's SQL Server) and SQLAlchemy
//   - the Java connectors for JDBC, with the drivers of PostgreSQL, MySQL and SQL
//     Server (the kit's), and for R2DBC with PostgreSQL
//
// The package internal/clients starts them. The first run builds the proxy and
// the Java program, and installs the packages that its folders node, python and
// java list; all are kept in the user's cache folder, and the next runs take them
// from there. Without a program that a test needs, it is skipped and says how to
// get that; with CI=true it fails.
//
// The command cmd/scenarios puts the Dialer of this module and these clients
// through the same faults and writes the tables in INTEROP.md. What came of it is
// in results.jsonl, and drawn in the folder plots.
package interop
