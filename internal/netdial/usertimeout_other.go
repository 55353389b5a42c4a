//go:build !linux

package netdial

import (
	"syscall"
	"time"
)

// setUserTimeout cannot do anything here.
func setUserTimeout(syscall.Conn, time.Duration) {}
