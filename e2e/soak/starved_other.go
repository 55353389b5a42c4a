//go:build !linux

package main

import (
	"errors"
	"time"
)

func runStarved(time.Duration) error { return errors.New("-starved needs Linux") }

func ifChild() {}
