package bench

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end a program whose starter was killed.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
