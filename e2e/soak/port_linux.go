package main

import (
	"os"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/e2e/soak/port"
)

// runPort is run of the command's local port.
func runPort(duration time.Duration, starve bool) error { return port.Run(duration, starve, os.Stdout) }
