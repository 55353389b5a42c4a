//go:build !linux

package bench

import (
	"errors"
	"time"
)

type usage struct {
	cpu      time.Duration
	resident float64
}

func usageOf(int) (u usage, err error) { return u, errors.ErrUnsupported }
