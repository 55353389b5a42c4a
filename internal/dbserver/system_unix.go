//go:build unix

package dbserver

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// newDir creates the folder of a server and returns it with the attributes of
// the server's processes. As root, both belong to the user postgres or, if
// there is none, nobody, because no server runs as root.
func newDir() (string, *syscall.SysProcAttr, error) {
	// Not os.TempDir: the path of a Unix socket has at most 103 bytes on macOS
	// and 107 on Linux, and another user must be able to reach the folder.
	dir, err := os.MkdirTemp("/tmp", "dbserver-")
	if err != nil {
		return "", nil, err
	}
	sys := &syscall.SysProcAttr{Setpgid: true}
	setDeathSignal(sys)
	if os.Geteuid() == 0 {
		if sys.Credential, err = unprivileged(); err == nil {
			err = os.Chown(dir, int(sys.Credential.Uid), int(sys.Credential.Gid))
		}
	}
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, sys, nil
}

func unprivileged() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
}

// killGroup kills the process and its children.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
