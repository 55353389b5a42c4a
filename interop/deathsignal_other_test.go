//go:build !linux

package interop

import "os/exec"

// setDeathSignal does nothing: only Linux can.
func setDeathSignal(*exec.Cmd) {}
