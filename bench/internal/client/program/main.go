// Command program is a client: package client in a process of its own.
package main

import (
	"fmt"
	"os"

	"github.com/cloudsqlconn/cloudsqlconn/bench/internal/client"
)

func main() {
	if err := client.Serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
