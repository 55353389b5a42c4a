//go:build !linux

package main

import "errors"

// refuses and swallow are for addresses that only Linux has.
func refuses(string) bool { return false }

func swallow(string) error { return errors.ErrUnsupported }
