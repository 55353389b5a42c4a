package auth_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

// printEnv makes this program print its value, as an executable that gives
// subject tokens does.
const printEnv = "AUTH_TEST_PRINT"

func TestMain(m *testing.M) {
	if text := os.Getenv(printEnv); text != "" {
		fmt.Println(text)
		return
	}
	os.Exit(testmain.Run(m))
}
