package main

import (
	"fmt"
	"os"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/e2e/soak/starved"
)

// runStarved is run with a process that is starved.
func runStarved(duration time.Duration) error { return starved.Run(duration, os.Stdout) }

// ifChild is main of the process that runStarved starts.
func ifChild() {
	if !starved.IsChild() {
		return
	}
	if err := starved.Child(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
