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

// notRun is what no scenario does to Google's connector.
const notRun = "Not in the table: there is one kind of malformed reply of the Admin API that Google's connector does not survive. This\n" +
	"one's answer to it is an error, as to every other reply that makes no sense."

// page is INTEROP.md.
func page(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# The same faults, two connectors

Written by %[1]sgo run -C interop ./cmd/scenarios%[1]s on %[2]s, with %[3]s on %[4]s/%[5]s, %[6]d CPUs.

`, "`", time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, s := range subjects {
		fmt.Fprintf(&b, "- %s: `%s` %s\n", s.name, s.module, s.version())
	}
	fmt.Fprintf(&b, `
Each scenario ran with each connector in a process of its own, against an instance that %[1]scloudsqltest%[1]s emulates on
loopback: real sockets, real TLS, real time. Nothing ran against Cloud SQL itself. Both connectors got the same tokens, the
same network (%[1]sWithDialFunc%[1]s), a ready RSA key (%[1]sWithPrivateKey%[1]s, %[1]sWithRSAKey%[1]s) and the options that the scenario names, and otherwise
their defaults; Google's also %[1]sWithBuiltInMetrics(false)%[1]s, since there is nobody to send metrics to.

A Dial works if the instance answers a byte on the connection. It has %[2]s unless the scenario says otherwise. After one that
fails, the next begins %[3]s after the one before began, or when that ends, and so on for %[4]s. Time and API calls are
counted from the fault, or from NewDialer when nothing was dialled before, until the end of the first Dial that works, or of
the last. The error is that of the first Dial that failed. What took less than %[5]s ran %[6]d times, and the row is the run with
the median time; the rest ran once. The emulator shared process and machine with the connector: a difference of some ten
milliseconds means nothing.

%[7]s

`, "`", inWords(dialLimit), inWords(pause), inWords(patience), inWords(quick), repeats, notRun)
	b.WriteString(table(rows))
	b.WriteString("\n## What happens in each\n\n")
	for i, r := range rows {
		fmt.Fprintf(&b, "%d. **%s.** %s\n", i+1, r.scenario.name, r.scenario.what)
	}
	return b.String()
}

// table is the table alone.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| | scenario | connector | outcome | time | API calls | error |\n|---|---|---|---|---|---|---|\n")
	for i, r := range rows {
		for j, s := range subjects {
			number, name := fmt.Sprint(i+1), r.scenario.name
			if j > 0 {
				number, name = "", ""
			}
			got := r.results[j]
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d | %s |\n", number, name, s.name, got.outcome(), got.time(), got.Calls, got.error())
		}
	}
	return b.String()
}
