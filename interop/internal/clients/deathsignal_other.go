//go:build !linux

package clients

import "os/exec"

// setDeathSignal does nothing: only Linux can.
func setDeathSignal(*exec.Cmd) {}
