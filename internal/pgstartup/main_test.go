package pgstartup_test

import (
	"os"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/internal/testmain"
)

func TestMain(m *testing.M) { os.Exit(testmain.Run(m)) }
