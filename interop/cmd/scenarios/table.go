package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// inWords is a duration with a space before the unit.
func inWords(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%g s", d.Seconds())
}

// notRun is what no scenario does to Google's clients.
const notRun = "Not in the table: there is one kind of malformed reply of the Admin API that Google's Go connector does not survive. This\n" +
	"one's answer to it is an error, as to every other reply that makes no sense."

// page is INTEROP.md, but for its last section.
func page(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# The same faults, six clients

Written by %[1]sgo run -C interop ./cmd/scenarios%[1]s on %[2]s, with %[3]s on %[4]s/%[5]s, %[6]d CPUs.

`, "`", time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, s := range subjects {
		fmt.Fprintf(&b, "- %s: `%s` %s\n", s.name, s.product, s.version)
	}
	fmt.Fprintf(&b, `
All but the first are Google's. Each scenario ran with each client in a process of its own, against an instance that %[1]scloudsqltest%[1]s
emulates on loopback: real sockets, real TLS, real time. Nothing ran against Cloud SQL itself. The two Go libraries got their
tokens from a token source, the others from a credentials file that names a token endpoint on loopback. The clients have
the options that the scenario names, and otherwise their defaults; the Go connector and the Auth Proxy also send no metrics,
since there is nobody to send them to.

A Dial is a new connection that the instance has answered a byte on. Python's connector gives out no connection but a
driver's: its instance is a PostgreSQL, and a Dial is a login and a query with asyncpg. In Go it is %[1]sDial%[1]s; with the Auth
Proxy a TCP connection to it; in Node %[1]sgetOptions%[1]s and %[1]sstream%[1]s; in Java %[1]screateSocket%[1]s of the socket factory. It has %[2]s unless
the scenario says otherwise: as a context in Go, %[1]sasyncio.wait_for%[1]s in Python; the others have no limit of a caller's, who
goes on without them. After one that fails, the next begins %[3]s after the one before began, or when that ends, and so on
for %[4]s.

Time and API calls are counted from the fault, or from the making of the client when nothing was dialled before, until the
end of the first Dial that works, or of the last. The processes of Node, Python and Java have connected to another instance
before: the start of an interpreter or of a JVM, and what it loads at first use, is not in it. The start of the Auth Proxy's
process is, since that is how its client is made; so is the RSA key of a new client, which takes between 50 ms and half a
second, by chance, unless its process has one already. What took less than %[5]s ran %[6]d times, and the cell is the run with
the median time; the rest ran once. Scenarios in which clients do little but wait ran with all of them at once, the others one
client after the other. The emulator shared the machine with them: a difference of some ten milliseconds means nothing.

%[7]s

`, "`", inWords(dialLimit), inWords(pause), inWords(patience), inWords(quick), repeats, notRun)
	b.WriteString(table(rows, subjects))
	fmt.Fprintf(&b, "\n%s\n%s\n\nUnder it, the error of the first Dial that failed.\n\n", pictureSection(rows), detailsTitle)
	b.WriteString(details(rows, subjects))
	return b.String()
}

// table is the table alone.
func table(rows []row, with []subject) string {
	var b strings.Builder
	b.WriteString("| | scenario |")
	for _, s := range with {
		fmt.Fprintf(&b, " %s |", s.name)
	}
	fmt.Fprintf(&b, "\n|---|---|%s\n", strings.Repeat("---|", len(with)))
	for i, r := range rows {
		fmt.Fprintf(&b, "| %d | %s |", i+1, r.scenario.name)
		for _, got := range r.results {
			fmt.Fprintf(&b, " %s |", got.cell())
		}
		b.WriteString("\n")
	}
	return b.String()
}

// details says what happens in each scenario, and how clients have failed.
func details(rows []row, with []subject) string {
	var b strings.Builder
	for i, r := range rows {
		fmt.Fprintf(&b, "%d. **%s.** %s\n", i+1, r.scenario.name, r.scenario.what)
		for j, got := range r.results {
			switch {
			case got.Lacks != "":
				fmt.Fprintf(&b, "   - %s: not run, %s\n", with[j].name, got.Lacks)
			case got.Error != "":
				fmt.Fprintf(&b, "   - %s: %s\n", with[j].name, got.error())
			}
		}
	}
	return b.String()
}
