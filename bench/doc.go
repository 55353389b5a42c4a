// Package bench measures what the library costs, beside the connector that
// Google publishes and beside crypto/tls alone, with the same certificates.
//
// The command report runs everything and writes BENCHMARKS.md. The most
// important operations are ordinary benchmarks too.
package bench
