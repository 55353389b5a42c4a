//go:build unix

package main

import (
	"net"
	"sync"
	"syscall"
)

// longestPath is how many bytes the path of a socket can have.
const longestPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// umask guards the process's.
var umask sync.Mutex

// listenPrivately listens on a socket that only this user can open, from its
// first moment on.
func listenPrivately(path string) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	defer syscall.Umask(syscall.Umask(0o177))
	return net.Listen("unix", path)
}
