//go:build !linux

package main

import (
	"errors"
	"time"
)

func runPort(time.Duration, bool) error { return errors.New("-port needs Linux") }
