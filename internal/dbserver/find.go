package dbserver

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNotInstalled is wrapped by the error that reports a missing program. The
// text of that error names the program, where it was looked for and how to
// install it.
var ErrNotInstalled = errors.New("dbserver: not installed")

// find returns the path of the program, from binDir alone if that is not
// empty.
func find(e *engine, program, binDir string) (string, error) {
	places, dirs := e.places, []string{binDir}
	if binDir != "" {
		places = []string{binDir}
	} else {
		dirs = folders(e.places)
	}
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%w: no %s in %s; %s, or set Options.BinDir",
		ErrNotInstalled, program, strings.Join(places, ", "), e.install)
}

// folders expands the patterns in order, the newest version of each first, and
// "$PATH".
func folders(patterns []string) []string {
	var all []string
	for _, pattern := range patterns {
		if pattern == "$PATH" {
			all = append(all, filepath.SplitList(os.Getenv("PATH"))...)
			continue
		}
		dirs, _ := filepath.Glob(pattern)
		slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(folderVersion(b), folderVersion(a)) })
		all = append(all, dirs...)
	}
	return all
}

// folderVersion returns 17 for /usr/lib/postgresql/17/bin and for
// /usr/local/opt/postgresql@17/bin, and 0 for a folder without a version.
func folderVersion(bin string) float64 {
	name := filepath.Base(filepath.Dir(bin))
	version, _ := strconv.ParseFloat(name[strings.LastIndexAny(name, "@-")+1:], 64)
	return version
}
