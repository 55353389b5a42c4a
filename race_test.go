//go:build race

package cloudsqlconn_test

// raceDetector: it allocates, too, so that there is nothing to count.
const raceDetector = true
