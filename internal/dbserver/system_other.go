//go:build !unix

package dbserver

import (
	"errors"
	"os"
	"syscall"
)

func newDir() (string, *syscall.SysProcAttr, error) { return "", nil, errors.ErrUnsupported }

func killGroup(p *os.Process) error { return p.Kill() }
