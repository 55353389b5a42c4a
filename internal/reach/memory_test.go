package reach_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/reach"
)

func TestDeferredHostsComeLastForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m reach.Memory
		want := func(order string) {
			t.Helper()
			if got := strings.Join(m.Order([]string{"a", "b", "c"}), ""); got != order {
				t.Errorf("the order is %s, want %s", got, order)
			}
		}
		want("abc")
		m.Defer(time.Minute, "a", "b")
		want("cab")
		time.Sleep(30 * time.Second)
		m.Defer(time.Minute, "c")
		want("abc")
		time.Sleep(30 * time.Second)
		want("abc")
		m.Defer(time.Minute)
		m.Defer(time.Minute, "a")
		want("bac")
		m.Good("c")
		want("bca")
		m.Forget()
		want("abc")
	})
}
