package dbserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNotInstalled is wrapped by the error that reports a missing program. The
// text of that error names the program, where it was looked for and how to
// install it.
var ErrNotInstalled = errors.New("dbserver: not installed")

// find returns the path of the program, from binDir alone if that is not
// empty.
func find(e *engine, program, binDir string) (string, error) {
	places, dirs := e.places, folders(e.places)
	if binDir != "" {
		places, dirs = []string{binDir}, []string{binDir}
	}
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%w: no %s in %s; %s",
		ErrNotInstalled, program, strings.Join(places, ", "), e.install)
}

// folders expands the places of an engine, the newest version first.
func folders(places []string) []string {
	var all []string
	for _, place := range places {
		dirs, _ := filepath.Glob(place)
		slices.Reverse(dirs) // sorted by name, so by version: all have two digits
		if variable, ok := strings.CutPrefix(place, "$"); ok {
			dirs = filepath.SplitList(os.Getenv(variable))
		}
		all = append(all, dirs...)
	}
	return all
}
