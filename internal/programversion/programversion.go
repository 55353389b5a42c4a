// Package programversion tells what a program was built from. It knows nothing of the
// program.
package programversion

import "runtime/debug"

// Of returns one line: the program's name and version, that of Go, and, if it was
// built in a checkout, the revision and whether that had been changed.
func Of(program string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return program
	}
	text := program + " " + info.Main.Version + ", " + info.GoVersion
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text += ", revision " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			text += ", changed since"
		}
	}
	return text
}
