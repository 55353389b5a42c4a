package main

import (
	"fmt"
	"slices"
	"strings"
)

// programs are packages under internal/ that use the library as anybody does.
var programs = []string{"internal/emulator"}

// alone are packages that import nothing of the module: each can be read, and
// understood, by itself.
var alone = []string{
	"internal/answer", "internal/cooldown", "internal/deadline", "internal/door", "internal/failover", "internal/failure", "internal/foreign",
	"internal/hedge", "internal/mdx", "internal/pgstartup", "internal/race", "internal/refresh", "internal/relogin", "internal/secondway", "internal/telemetry",
	"internal/tlsverify",
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
}

// broken are the rules that do not hold.
func (h house) broken() (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, r := range h.sorted(func(r *room) bool { return strings.HasPrefix(r.name, "internal/") }) {
		if slices.Contains(r.imports, root) && !slices.Contains(programs, r.name) {
			say("%s imports the root package", r.name)
		}
		if !r.knows {
			say("the comment of %s does not say what it must not know", r.name)
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
		if h.needs(s.who, s.whom) {
			say("%s needs %s, which it must not know", s.who, s.whom)
		}
	}
	slices.Sort(list)
	return list
}

// needs reports whether a package imports another one, itself or through others.
func (h house) needs(who, whom string) bool {
	return slices.ContainsFunc(h[who].imports, func(name string) bool { return name == whom || h.needs(name, whom) })
}
