package dbserver

import "syscall"

// setDeathSignal makes the kernel end a server whose starter was killed.
// SIGQUIT stops PostgreSQL with all its children, and MariaDB cleanly.
func setDeathSignal(sys *syscall.SysProcAttr) { sys.Pdeathsig = syscall.SIGQUIT }
