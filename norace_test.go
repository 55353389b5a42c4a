//go:build !race

package cloudsqlconn_test

const raceDetector = false
