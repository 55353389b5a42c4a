package main

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// refuses reports whether nobody listens at an address.
func refuses(addr string) bool {
	c, err := dialFor(time.Second, addr)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// swallow makes port 3307 of a host answer nothing, as a firewall does that
// drops packets: the queue of who listens there is full, and the kernel drops the
// SYNs of all others. It lasts as long as the process.
func swallow(host string) error {
	ip := net.ParseIP(host).To4()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// Connections of before linger at that port.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: 3307, Addr: [4]byte(ip)}); err != nil {
		return err
	}
	if err := syscall.Listen(fd, 0); err != nil {
		return err
	}
	for range 10 {
		c, err := dialFor(time.Second, net.JoinHostPort(host, "3307"))
		switch {
		case isTimeout(err):
			return nil
		case err != nil:
			return err
		}
		queued = append(queued, c)
	}
	return errors.New(host + " goes on answering")
}

// queued are the connections that fill queues.
var queued []net.Conn

func dialFor(limit time.Duration, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
