package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// usage is what a process has used so far.
type usage struct {
	cpu      time.Duration
	resident float64 // bytes, at present
}

// usageOf asks the kernel. Threads of Go do not end, so that none has taken its
// CPU time away.
func usageOf(pid int) (u usage, err error) {
	root := filepath.Join("/proc", strconv.Itoa(pid))
	threads, err := filepath.Glob(filepath.Join(root, "task", "*", "schedstat"))
	if err != nil {
		return u, err
	}
	for _, name := range threads {
		text, err := os.ReadFile(name)
		if err != nil {
			return u, err
		}
		var running time.Duration
		if _, err := fmt.Sscan(string(text), &running); err != nil {
			return u, err
		}
		u.cpu += running
	}
	text, err := os.ReadFile(filepath.Join(root, "statm"))
	if err != nil {
		return u, err
	}
	fields := bytes.Fields(text)
	pages, err := strconv.Atoi(string(fields[1]))
	u.resident = float64(pages * os.Getpagesize())
	return u, err
}
