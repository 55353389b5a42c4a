//go:build !unix

package main

import "net"

// longestPath is how many bytes the path of a socket can have.
const longestPath = 107

// listenPrivately listens on a socket. Who may open it is up to its folder.
func listenPrivately(path string) (net.Listener, error) { return net.Listen("unix", path) }
