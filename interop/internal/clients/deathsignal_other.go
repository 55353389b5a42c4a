//go:build !linux

package clients

import "os/exec"

// EndWithThisProcess does nothing: only Linux can.
func EndWithThisProcess(*exec.Cmd) {}
