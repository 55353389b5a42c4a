// Package faults has only tests: of everything that can go wrong between a program and
// an instance. README.md says which file is about what.
package faults
