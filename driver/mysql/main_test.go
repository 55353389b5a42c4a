package mysql_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/admin"
	"github.com/cloudsqlconn/cloudsqlconn/internal/test/testmain"
)

func TestMain(m *testing.M) {
	// What is made once for the process must not be made in a bubble, where
	// other tests could not use it.
	if _, err := admin.ProcessKey(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(testmain.Run(m))
}
