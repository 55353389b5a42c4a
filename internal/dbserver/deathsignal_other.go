//go:build unix && !linux

package dbserver

import "syscall"

func setDeathSignal(*syscall.SysProcAttr) {}
