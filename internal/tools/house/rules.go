package main

import (
	"fmt"
	"slices"
	"strings"
)

// programs are packages under internal/ that use the library as anybody does.
var programs = []string{"internal/emulator"}

// mostCode is how many lines of code a driver package has at most: what is a job of its own
// is a package under driver/internal.
const mostCode = 249

// alone are packages that import nothing of the module: each can be read, and
// understood, by itself.
var alone = []string{
	"driver/internal/ctxconn", "driver/internal/kerberos", "driver/internal/mysqlpacket",
	"internal/answer", "internal/cooldown", "internal/deadline", "internal/door", "internal/engine", "internal/failover", "internal/failure",
	"internal/foreign", "internal/hedge", "internal/mdx", "internal/pgstartup", "internal/race", "internal/refresh", "internal/registry",
	"internal/relogin", "internal/secondway", "internal/telemetry", "internal/tlsverify",
}

// strangers must not know each other, not even through others.
var strangers = []struct{ who, whom string }{
	{"internal/reach", "internal/refresh"}, // it is given what to connect with
	{"internal/reach", "internal/resolve"},
	{"internal/streams", "internal/doctor"},
	{"internal/doctor", "internal/streams"}, // a program without SQL Data must not link it
	{"internal/hint", "internal/doctor"},
	{"internal/sqldata", "internal/admin"},
	{"internal/auth", "internal/admin"},
	{"internal/caller", "internal/admin"},
	{"driver/internal/pgtunnel", "driver/internal/pgconfig"}, // it is given what has been read
	{"driver/internal/mssqltunnel", "driver/internal/mssqlconfig"},
	{"driver/internal/pgconfig", "driver/internal/pglogin"},
}

// broken are the rules that do not hold.
func (h house) broken() (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, r := range h.sorted(func(r *room) bool { return strings.HasPrefix(r.name, "internal/") }) {
		if slices.Contains(r.imports, root) && !slices.Contains(programs, r.name) {
			say("%s imports the root package", r.name)
		}
	}
	for _, r := range h.sorted(func(r *room) bool { return strings.HasPrefix(r.name, "internal/") || ofDrivers(r) }) {
		if !r.knows {
			say("the comment of %s does not say what it must not know", r.name)
		}
	}
	for _, r := range h.sorted(func(r *room) bool { return strings.HasPrefix(r.name, "driver/") && !ofDrivers(r) }) {
		if r.code > mostCode {
			say("%s has %d lines of code, and was to have at most %d", r.name, r.code, mostCode)
		}
	}
	for name := range h.ships() {
		if name != root && !strings.HasPrefix(name, "internal/") {
			say("the root package needs %s", name)
		}
		if strings.HasPrefix(name, "internal/test/") {
			say("the root package needs %s, which is for tests", name)
		}
	}
	for _, name := range alone {
		switch r := h[name]; {
		case r == nil:
			say("there is no %s", name)
		case len(r.imports) > 0:
			say("%s imports %s, and was to import nothing", name, strings.Join(r.imports, ", "))
		}
	}
	for _, s := range strangers {
		if h.madeOf(s.who)[s.whom] {
			say("%s needs %s, which it must not know", s.who, s.whom)
		}
	}
	slices.Sort(list)
	return list
}

// ofDrivers reports whether a package is for the driver packages alone.
func ofDrivers(r *room) bool { return strings.HasPrefix(r.name, "driver/internal/") }
