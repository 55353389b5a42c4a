//go:build unix

package dbserver

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// newDir creates the folder of a server and returns it with the attributes of
// the server's processes. As root, both belong to the user postgres or, if
// there is none, nobody, because no server runs as root.
func newDir() (string, *syscall.SysProcAttr, error) {
	dir, err := os.MkdirTemp(tempDir(), "dbserver-")
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

// tempDir is os.TempDir, or /tmp where that is of no use.
func tempDir() string {
	// The path of a Unix socket has at most 103 bytes on macOS, and 107 on Linux.
	const longest = 103 - len("/dbserver-1234567890/mariadb.sock")
	dir, err := filepath.Abs(os.TempDir())
	if err != nil || len(dir) > longest || os.Geteuid() == 0 && !reachable(dir) {
		return "/tmp"
	}
	return dir
}

// reachable reports whether every user can go to dir.
func reachable(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
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
