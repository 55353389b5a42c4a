package cloudsqlconn_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"github.com/cloudsqlconn/cloudsqlconn"
	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

const testInstance = "my-project:europe-west1:my-db"

func TestDialReachesTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cloudsqltest.NewMemoryServer()
		defer s.Close()
		s.AddInstance(testInstance, cloudsqltest.Instance{})
		d, err := cloudsqlconn.NewDialer(context.Background(), s.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		c, err := d.Dial(t.Context(), testInstance)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
			t.Fatalf("read %q, %v", b, err)
		}
	})
}
