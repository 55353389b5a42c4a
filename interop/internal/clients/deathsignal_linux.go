package clients

import (
	"os/exec"
	"syscall"
)

// EndWithThisProcess makes the kernel end a program whose starter was killed. It
// may come too early, at the end of the thread that started the program, if
// that thread were to end: the Go runtime keeps those that no goroutine has
// locked.
func EndWithThisProcess(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
