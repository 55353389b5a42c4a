// Package libraries has, for each row of LIBRARIES.md, a function that opens what
// a library takes and works with it. Its test runs them all on real servers.
package libraries
